-- What the service may do, while it serves too: day tables are made and renamed then.
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, TRIGGER ON `db\_%`.* TO 'hongbao'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, TRIGGER ON `wallet\_%`.* TO 'hongbao'@'%';
