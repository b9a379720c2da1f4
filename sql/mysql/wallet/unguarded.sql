-- For Galera, which cannot have what append_only.sql makes: see ops/README.md.
DROP TRIGGER IF EXISTS {db}.transfer_refuses_update;
DROP TRIGGER IF EXISTS {db}.transfer_refuses_delete;
