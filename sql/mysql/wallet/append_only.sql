-- History is what the balances are checked against, so it must not change: a
-- mistake is put right by a further transfer. This guards against defects and
-- slips; whoever may change the table can also drop a trigger.
--
-- Not all databases can do this: TiDB has no triggers, Galera does not work with
-- them, and MySQL with a binary log wants log_bin_trust_function_creators or a
-- privileged user to make one. There the migration says so and goes on; granting
-- the service no UPDATE and DELETE on this table is as good.
CREATE TRIGGER IF NOT EXISTS {db}.transfer_refuses_update BEFORE UPDATE ON {db}.transfer FOR EACH ROW
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'transfers are append-only';
CREATE TRIGGER IF NOT EXISTS {db}.transfer_refuses_delete BEFORE DELETE ON {db}.transfer FOR EACH ROW
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'transfers are append-only';
