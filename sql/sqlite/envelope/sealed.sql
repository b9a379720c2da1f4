-- Made when a dated table is closed: nothing in it changes while it has a row in
-- `manifest`. This guards against defects and slips; who may change the file can
-- also drop a trigger, and the audit compares the rows with the manifest.
CREATE TRIGGER IF NOT EXISTS {table}_refuses_insert BEFORE INSERT ON {table}
WHEN EXISTS (SELECT 1 FROM manifest WHERE y = {y} AND date = {date})
BEGIN
    SELECT RAISE(ABORT, 'the table is sealed');
END;

CREATE TRIGGER IF NOT EXISTS {table}_refuses_update BEFORE UPDATE ON {table}
WHEN EXISTS (SELECT 1 FROM manifest WHERE y = {y} AND date = {date})
BEGIN
    SELECT RAISE(ABORT, 'the table is sealed');
END;

CREATE TRIGGER IF NOT EXISTS {table}_refuses_delete BEFORE DELETE ON {table}
WHEN EXISTS (SELECT 1 FROM manifest WHERE y = {y} AND date = {date})
BEGIN
    SELECT RAISE(ABORT, 'the table is sealed');
END;
