-- Envelopes that were cancelled, and so never paid, are removed after a while
-- (workers/src/purge.rs). The partial index finds them among all others.
CREATE INDEX envelope_{y}_{dd}_cancelled ON envelope_{y}_{dd} (id) WHERE stage = 2;
