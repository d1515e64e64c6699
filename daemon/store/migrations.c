/* SPDX-License-Identifier: Apache-2.0 */
/* The schema, as the steps that made it.
 *
 * A step that was released is never edited: tests/unit/store/golden/ holds what each makes.  A
 * change of the schema is a new step at the end.
 *
 * Types and statements are the common ground of SQLite and PostgreSQL: TEXT, BIGINT, BOOLEAN, no
 * rowid, no autoincrement.  Times are BIGINT microseconds UTC, JSON is TEXT.
 *
 * ON DELETE: what belongs to a replication goes with it; the ledger stays (it says what is still on
 * the platforms) and only forgets the replication.  A platform in use cannot go.
 */
#include "daemon/store/internal.h"

/* clang-format off */
static const char version_1[] =
    "CREATE TABLE counters ("
    "  name TEXT NOT NULL PRIMARY KEY,"
    "  value BIGINT NOT NULL);"
    "INSERT INTO counters (name, value) VALUES ('event', 0);"

    "CREATE TABLE platforms ("
    "  id TEXT NOT NULL PRIMARY KEY,"
    "  name TEXT NOT NULL UNIQUE,"
    "  type TEXT NOT NULL,"
    "  url TEXT NOT NULL,"
    "  \"user\" TEXT,"
    "  sealed_password TEXT,"
    "  options TEXT,"
    "  created_us BIGINT NOT NULL);"

    "CREATE TABLE replications ("
    "  id TEXT NOT NULL PRIMARY KEY,"
    "  name TEXT NOT NULL UNIQUE,"
    "  source_platform_id TEXT NOT NULL REFERENCES platforms (id),"
    "  target_platform_id TEXT NOT NULL REFERENCES platforms (id),"
    "  machine_id TEXT NOT NULL,"
    "  machine_name TEXT,"
    "  machine TEXT,"
    "  mapping TEXT NOT NULL,"
    "  policy TEXT NOT NULL,"
    "  state TEXT NOT NULL,"
    "  error TEXT,"
    "  findings TEXT,"
    "  checked_us BIGINT NOT NULL,"
    "  baseline TEXT,"
    "  next_round_us BIGINT NOT NULL,"
    "  failures BIGINT NOT NULL,"
    "  created_us BIGINT NOT NULL,"
    "  changed_us BIGINT NOT NULL,"
    "  UNIQUE (source_platform_id, machine_id));"
    "CREATE INDEX replications_by_target ON replications (target_platform_id);"

    "CREATE TABLE volumes ("
    "  replication_id TEXT NOT NULL REFERENCES replications (id) ON DELETE CASCADE,"
    "  disk_key TEXT NOT NULL,"
    "  ledger_id TEXT,"
    "  ref TEXT,"
    "  size_bytes BIGINT NOT NULL,"
    "  seeded BOOLEAN NOT NULL,"
    "  PRIMARY KEY (replication_id, disk_key));"

    "CREATE TABLE rounds ("
    "  id TEXT NOT NULL PRIMARY KEY,"
    "  replication_id TEXT NOT NULL REFERENCES replications (id) ON DELETE CASCADE,"
    "  number BIGINT NOT NULL,"
    "  kind TEXT,"
    "  \"trigger\" TEXT,"
    "  state TEXT NOT NULL,"
    "  note TEXT,"
    "  quiesced BOOLEAN NOT NULL,"
    "  snapshot_us BIGINT NOT NULL,"
    "  started_us BIGINT NOT NULL,"
    "  ended_us BIGINT NOT NULL,"
    "  to_send_bytes BIGINT NOT NULL,"
    "  sent_bytes BIGINT NOT NULL,"
    "  zero_bytes BIGINT NOT NULL,"
    "  error TEXT,"
    "  UNIQUE (replication_id, number));"

    "CREATE TABLE round_disks ("
    "  round_id TEXT NOT NULL REFERENCES rounds (id) ON DELETE CASCADE,"
    "  disk_key TEXT NOT NULL,"
    "  kind TEXT,"
    "  note TEXT,"
    "  size_bytes BIGINT NOT NULL,"
    "  to_send_bytes BIGINT NOT NULL,"
    "  sent_bytes BIGINT NOT NULL,"
    "  zero_bytes BIGINT NOT NULL,"
    "  read_bytes BIGINT NOT NULL,"
    "  copy_ms BIGINT NOT NULL,"
    "  digest TEXT,"
    "  verified TEXT,"
    "  PRIMARY KEY (round_id, disk_key));"

    "CREATE TABLE points ("
    "  id TEXT NOT NULL PRIMARY KEY,"
    "  replication_id TEXT NOT NULL REFERENCES replications (id) ON DELETE CASCADE,"
    "  round_id TEXT REFERENCES rounds (id) ON DELETE SET NULL,"
    "  number BIGINT NOT NULL,"
    "  taken_us BIGINT NOT NULL,"
    "  quiesced BOOLEAN NOT NULL,"
    "  volumes TEXT NOT NULL,"
    "  removing BOOLEAN NOT NULL,"
    "  UNIQUE (replication_id, number));"
    "CREATE INDEX points_by_round ON points (round_id);"

    "CREATE TABLE launches ("
    "  id TEXT NOT NULL PRIMARY KEY,"
    "  replication_id TEXT NOT NULL REFERENCES replications (id) ON DELETE CASCADE,"
    "  point_id TEXT,"
    "  point_number BIGINT NOT NULL,"
    "  kind TEXT NOT NULL,"
    "  state TEXT NOT NULL,"
    "  machine_name TEXT,"
    "  machine_ref TEXT,"
    "  clones TEXT,"
    "  conversion TEXT,"
    "  console TEXT,"
    "  timing TEXT,"
    "  error TEXT,"
    "  started_us BIGINT NOT NULL,"
    "  booted_us BIGINT NOT NULL,"
    "  ended_us BIGINT NOT NULL);"
    "CREATE INDEX launches_by_replication ON launches (replication_id, started_us);"

    "CREATE TABLE jobs ("
    "  id TEXT NOT NULL PRIMARY KEY,"
    "  replication_id TEXT REFERENCES replications (id) ON DELETE CASCADE,"
    "  kind TEXT NOT NULL,"
    "  state TEXT NOT NULL,"
    "  step BIGINT NOT NULL,"
    "  step_name TEXT,"
    "  context TEXT,"
    "  error TEXT,"
    "  started_us BIGINT NOT NULL,"
    "  ended_us BIGINT NOT NULL);"
    "CREATE INDEX jobs_by_replication ON jobs (replication_id, started_us);"
    "CREATE INDEX jobs_by_state ON jobs (state, started_us);"

    "CREATE TABLE ledger ("
    "  id TEXT NOT NULL PRIMARY KEY,"
    "  platform_id TEXT NOT NULL,"
    "  replication_id TEXT REFERENCES replications (id) ON DELETE SET NULL,"
    "  kind TEXT NOT NULL,"
    "  state TEXT NOT NULL,"
    "  name TEXT,"
    "  ref TEXT,"
    "  owner TEXT,"
    "  created_us BIGINT NOT NULL,"
    "  changed_us BIGINT NOT NULL);"
    "CREATE INDEX ledger_by_replication ON ledger (replication_id);"
    "CREATE INDEX ledger_by_platform ON ledger (platform_id, state);"

    "CREATE TABLE events ("
    "  id BIGINT NOT NULL PRIMARY KEY,"
    "  at_us BIGINT NOT NULL,"
    "  replication TEXT,"
    "  level TEXT NOT NULL,"
    "  type TEXT NOT NULL,"
    "  message TEXT NOT NULL,"
    "  data TEXT);"
    "CREATE INDEX events_by_replication ON events (replication, id);";

static const char version_2[] =
    "CREATE TABLE limits ("
    "  scope TEXT NOT NULL PRIMARY KEY,"
    "  platform_id TEXT REFERENCES platforms (id) ON DELETE CASCADE,"
    "  replication_id TEXT REFERENCES replications (id) ON DELETE CASCADE,"
    "  limits TEXT NOT NULL);";

static const char version_3[] =
    "CREATE TABLE plans ("
    "  replication_id TEXT NOT NULL PRIMARY KEY REFERENCES replications (id) ON DELETE CASCADE,"
    "  plan TEXT NOT NULL,"
    "  point_number BIGINT NOT NULL,"
    "  made_us BIGINT NOT NULL);"
    "ALTER TABLE launches ADD COLUMN evidence TEXT;";
/* clang-format on */

const struct store_migration store_migrations[] = {
    {version_1},
    {version_2},
    {version_3},
};
const unsigned store_migration_count = bf_array_length(store_migrations);
