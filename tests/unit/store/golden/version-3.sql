-- SPDX-License-Identifier: Apache-2.0
-- What schema version 3 added to version 2. Never edited.
CREATE TABLE plans (  replication_id TEXT NOT NULL PRIMARY KEY REFERENCES replications (id) ON DELETE CASCADE,  plan TEXT NOT NULL,  point_number BIGINT NOT NULL,  made_us BIGINT NOT NULL);
ALTER TABLE launches ADD COLUMN evidence TEXT;
INSERT INTO plans SELECT id, '{"version":1,"method":"fast"}', 1, 1700000000000000 FROM replications LIMIT 1;
PRAGMA user_version = 3;
