/* SPDX-License-Identifier: MIT
 *
 * Jobs as SQL: a batch is one transaction, a read is one range of the primary key.
 */
#include "disk/database.h"

static int run(perigee_disk_job *job, sqlite3_stmt *statement) {
  int step = sqlite3_step(statement);
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  return step == SQLITE_DONE ? 0 : perigee_database_fail(job);
}

static int write_record(perigee_disk_job *job, const perigee_disk_record *record) {
  const perigee_disk_row *row = &record->row;
  perigee_disk *disk = job->disk;
  sqlite3_stmt *statement = record->what == PERIGEE_RECORD_PUT      ? disk->put
                            : record->what == PERIGEE_RECORD_DELETE ? disk->delete
                                                                    : disk->clear;
  sqlite3_bind_text(statement, 1, job->cache, (int)job->cache_length, SQLITE_STATIC);
  if (record->what != PERIGEE_RECORD_CLEAR)
    sqlite3_bind_blob(statement, 2, row->key, (int)row->key_length, SQLITE_STATIC);
  if (record->what == PERIGEE_RECORD_PUT)
    sqlite3_bind_blob(statement, 3, row->value, (int)row->value_length, SQLITE_STATIC);
  return run(job, statement);
}

static int execute(perigee_disk_job *job, const char *sql) {
  return sqlite3_exec(job->disk->db, sql, NULL, NULL, NULL) == SQLITE_OK
           ? 0
           : perigee_database_fail(job);
}

static int write_batch(perigee_disk_job *job) {
  perigee_disk_record record;
  int failed = execute(job, "BEGIN IMMEDIATE");
  perigee_job_rewind(job);
  while (!failed && perigee_job_next(job, &record)) failed = write_record(job, &record);
  if (!failed) failed = execute(job, "COMMIT");
  if (failed && job->disk->db && !sqlite3_get_autocommit(job->disk->db))
    sqlite3_exec(job->disk->db, "ROLLBACK", NULL, NULL, NULL);
  return failed;
}

/* A value above the disk's bound is not looked at: the statement gives NULL for it. */
static int add_row(perigee_disk_job *job, sqlite3_stmt *read) {
  int too_large = sqlite3_column_type(read, 1) == SQLITE_NULL;
  perigee_disk_row row = {
    .key = sqlite3_column_blob(read, 0),
    .value = sqlite3_column_blob(read, 1),
    .key_length = (uint32_t)sqlite3_column_bytes(read, 0),
    .value_length = (uint32_t)sqlite3_column_bytes(read, 1),
  };
  return perigee_job_add(job, too_large ? PERIGEE_RECORD_TOO_LARGE : PERIGEE_RECORD_PUT, &row);
}

static int read_rows(perigee_disk_job *job) {
  sqlite3_stmt *read = job->disk->read;
  int step = SQLITE_ROW, failed = 0;
  sqlite3_bind_text(read, 1, job->cache, (int)job->cache_length, SQLITE_STATIC);
  sqlite3_bind_blob(read, 2, job->after, (int)job->after_length, SQLITE_STATIC);
  sqlite3_bind_double(read, 3, job->disk->max_bytes);
  while (!failed && job->size < job->wanted && (step = sqlite3_step(read)) == SQLITE_ROW)
    failed = add_row(job, read);
  job->is_last = step == SQLITE_DONE;
  if (failed)
    sqlite3_snprintf(PERIGEE_JOB_TEXT, job->error, "out of memory");
  else if (step != SQLITE_ROW && step != SQLITE_DONE)
    failed = perigee_database_fail(job);
  if (!job->disk->db) return -1; /* damaged, and closed */
  sqlite3_reset(read);
  sqlite3_clear_bindings(read);
  return failed;
}

int perigee_database_do(perigee_disk_job *job) {
  if (job->kind == PERIGEE_JOB_CLOSE) {
    if (job->disk->generation == job->generation) perigee_database_close(job->disk);
    return 0;
  }
  if (perigee_database_open(job)) return -1;
  return job->kind == PERIGEE_JOB_READ ? read_rows(job) : write_batch(job);
}
