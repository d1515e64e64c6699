-- SPDX-License-Identifier: Apache-2.0
-- What schema version 2 added to version 1. Never edited.
CREATE TABLE limits (  scope TEXT NOT NULL PRIMARY KEY,  platform_id TEXT REFERENCES platforms (id) ON DELETE CASCADE,  replication_id TEXT REFERENCES replications (id) ON DELETE CASCADE,  limits TEXT NOT NULL);
INSERT INTO limits VALUES ('service', NULL, NULL, '[{"rate":"52428800","windows":["Mon-Fri 08:00-18:00"]}]');
PRAGMA user_version = 2;
