/* SPDX-License-Identifier: MIT
 *
 * Opening is where the care is: the file may be missing, somebody else's, damaged, read-only, or
 * put there to hurt. Nothing in it is trusted: the schema must be exactly ours, SQLite runs in
 * its defensive mode without memory maps, and every page is looked at once (quick_check) before
 * the first row is.
 */
#define _GNU_SOURCE
#include "disk/database.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
  APPLICATION = 0x50455247, /* "PERG" */
  VERSION = 1,
  BUSY_MS = 1000,
  WAL_KEPT = 4 << 20, /* bytes of the log that stay on the disk */
};

#define SCHEMA                                                             \
  "CREATE TABLE entry (cache TEXT NOT NULL, key BLOB NOT NULL, value BLOB" \
  " NOT NULL, PRIMARY KEY (cache, key)) WITHOUT ROWID"

static const char *const suffixes[] = {"", "-wal", "-shm"};
enum { SUFFIXES = sizeof suffixes / sizeof *suffixes };

void perigee_database_close(perigee_disk *disk) {
  sqlite3_finalize(disk->put);
  sqlite3_finalize(disk->delete);
  sqlite3_finalize(disk->clear);
  sqlite3_finalize(disk->read);
  sqlite3_close(disk->db);
  disk->put = disk->delete = disk->clear = disk->read = NULL;
  disk->db = NULL;
}

/* Errors. */

static int fail(perigee_disk_job *job, const char *why) {
  sqlite3_snprintf(PERIGEE_JOB_TEXT, job->error, "%s: %s", job->disk->path, why);
  return -1;
}

static int is_damage(int code) {
  return (code & 0xFF) == SQLITE_CORRUPT || (code & 0xFF) == SQLITE_NOTADB;
}

/* A name that nothing has yet. */
static int name_aside(const char *path, char *name, size_t size) {
  struct stat unused;
  for (int try = 0; try < 100; try++) {
    int length = snprintf(name, size, "%s.damaged-%lld-%d", path, (long long)time(NULL), try);
    if (length < 0 || (size_t)length + sizeof "-wal" > size) return -1;
    if (lstat(name, &unused) != 0) return 0;
  }
  return -1;
}

/* Moves the file and its log away. Another process may be about to do the same: whoever has the
 * lock of this very file moves it, and the other finds a new one at its name. */
static void move_aside(perigee_disk_job *job) {
  const char *path = job->disk->path;
  char name[4096], from[4096], to[4200];
  struct stat mine, there;
  int file = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (file < 0 || flock(file, LOCK_EX) != 0 || fstat(file, &mine) != 0 ||
      lstat(path, &there) != 0 || mine.st_ino != there.st_ino || mine.st_dev != there.st_dev ||
      name_aside(path, name, sizeof name) != 0) {
    if (file >= 0) close(file);
    return;
  }
  for (int i = SUFFIXES - 1; i >= 0; i--) {
    snprintf(from, sizeof from, "%s%s", path, suffixes[i]);
    snprintf(to, sizeof to, "%s%s", name, suffixes[i]);
    if (rename(from, to) == 0 && i == 0)
      sqlite3_snprintf(PERIGEE_JOB_TEXT, job->notice, "%s: %s; it was moved to %s", path,
                       job->error, name);
  }
  close(file);
}

int perigee_database_fail(perigee_disk_job *job) {
  perigee_disk *disk = job->disk;
  int code = sqlite3_extended_errcode(disk->db);
  if (!is_damage(code)) return fail(job, sqlite3_errmsg(disk->db));
  sqlite3_snprintf(PERIGEE_JOB_TEXT, job->error, "the file is damaged (%s)",
                   sqlite3_errmsg(disk->db));
  perigee_database_close(disk);
  move_aside(job);
  return fail(job, "the file is damaged");
}

/* Looking. */

/* The first number that a statement gives; -1 with SQLite's error if it fails. */
static int number_of(perigee_disk *disk, const char *sql, int64_t *number) {
  sqlite3_stmt *statement;
  if (sqlite3_prepare_v2(disk->db, sql, -1, &statement, NULL) != SQLITE_OK) return -1;
  int step = sqlite3_step(statement);
  if (step == SQLITE_ROW) *number = sqlite3_column_int64(statement, 0);
  sqlite3_finalize(statement);
  return step == SQLITE_ROW ? 0 : -1;
}

enum { OURS, EMPTY, FOREIGN, LATER, BROKEN };

/* Whose database this is. The schema of ours has one line, and it is known. */
static int whose(perigee_disk *disk) {
  int64_t application, version, tables, known;
  if (number_of(disk, "SELECT count(*) FROM sqlite_master", &tables) ||
      number_of(disk, "PRAGMA application_id", &application) ||
      number_of(disk, "PRAGMA user_version", &version))
    return BROKEN;
  if (tables == 0 && (application == 0 || application == APPLICATION)) return EMPTY;
  if (application != APPLICATION) return FOREIGN;
  if (version > VERSION) return LATER;
  if (number_of(disk, "SELECT count(*) FROM sqlite_master WHERE sql = '" SCHEMA "'", &known))
    return BROKEN;
  return tables == 1 && known == 1 ? OURS : FOREIGN;
}

/* Every page, once: 0 if all is well, 1 if not. */
static int is_broken(perigee_disk *disk) {
  sqlite3_stmt *statement;
  if (sqlite3_prepare_v2(disk->db, "PRAGMA quick_check(1)", -1, &statement, NULL) != SQLITE_OK)
    return is_damage(sqlite3_extended_errcode(disk->db));
  int step = sqlite3_step(statement);
  const char *said = step == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
  int broken = step == SQLITE_ROW ? !said || strcmp(said, "ok") != 0 : is_damage(step);
  sqlite3_finalize(statement);
  return broken;
}

/* Opening. */

/* A new file is made by us, for its owner's eyes only; SQLite gives its log the same mode. */
static int make_file(perigee_disk_job *job) {
  struct stat there;
  const char *path = job->disk->path;
  if (lstat(path, &there) == 0) {
    if (S_ISREG(there.st_mode)) return 0;
    return fail(job, S_ISLNK(there.st_mode) ? "is a symbolic link, which is not followed"
                                            : "is not a regular file");
  }
  int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0 && errno != EEXIST) return fail(job, strerror(errno));
  if (file >= 0) close(file);
  return 0;
}

/* SQLite refuses a symbolic link anywhere in a name; those of the folders are the user's own. */
static char *resolved(const char *path) {
  const char *slash = strrchr(path, '/');
  char folder[4096], *real, *whole;
  size_t length = slash ? (size_t)(slash - path) : 1;
  if (length >= sizeof folder) return NULL;
  memcpy(folder, slash ? path : ".", length);
  folder[length] = '\0';
  real = realpath(length ? folder : "/", NULL);
  if (!real) return NULL;
  if (asprintf(&whole, "%s/%s", real, slash ? slash + 1 : path) < 0) whole = NULL;
  free(real);
  return whole;
}

static int connect(perigee_disk *disk) {
  char *path = resolved(disk->path);
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX;
  int result = path ? sqlite3_open_v2(path, &disk->db, flags, NULL) : SQLITE_NOMEM;
  free(path);
  if (result != SQLITE_OK) return -1;
  sqlite3_extended_result_codes(disk->db, 1);
  sqlite3_busy_timeout(disk->db, BUSY_MS);
  sqlite3_db_config(disk->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  sqlite3_db_config(disk->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  return sqlite3_exec(disk->db, "PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON", NULL, NULL,
                      NULL) == SQLITE_OK
           ? 0
           : -1;
}

/* Makes the table, unless another process has just done so. */
static int initialize(perigee_disk *disk) {
  int made = sqlite3_exec(disk->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
  char pragmas[100];
  snprintf(pragmas, sizeof pragmas, "PRAGMA application_id = %d; PRAGMA user_version = %d",
           APPLICATION, VERSION);
  if (made && whose(disk) == EMPTY)
    made = sqlite3_exec(disk->db, SCHEMA, NULL, NULL, NULL) == SQLITE_OK &&
           sqlite3_exec(disk->db, pragmas, NULL, NULL, NULL) == SQLITE_OK;
  if (made && sqlite3_exec(disk->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK) return 0;
  return -1;
}

/* A file that cannot be written can be read all the same. */
static int configure(perigee_disk *disk) {
  static const char *const sync[] = {"OFF", "NORMAL", "FULL"};
  char sql[200];
  snprintf(sql, sizeof sql, "PRAGMA synchronous = %s; PRAGMA journal_size_limit = %d",
           sync[disk->sync], WAL_KEPT);
  if (!sqlite3_db_readonly(disk->db, "main"))
    sqlite3_exec(disk->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
  return sqlite3_exec(disk->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : -1;
}

static int prepare_one(perigee_disk *disk, const char *sql, sqlite3_stmt **statement) {
  return sqlite3_prepare_v3(disk->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) ==
             SQLITE_OK
           ? 0
           : -1;
}

static int prepare(perigee_disk *disk) {
  if (prepare_one(disk, "INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", &disk->put) ||
      prepare_one(disk, "DELETE FROM entry WHERE cache = ? AND key = ?", &disk->delete) ||
      prepare_one(disk, "DELETE FROM entry WHERE cache = ?", &disk->clear))
    return -1;
  return prepare_one(disk,
                     "SELECT key, CASE WHEN length(value) <= ?3 THEN value END FROM entry"
                     " WHERE cache = ?1 AND key > ?2 ORDER BY key",
                     &disk->read);
}

static int refuse(perigee_disk_job *job, const char *why) {
  perigee_database_close(job->disk);
  return fail(job, why);
}

static int give_up(perigee_disk_job *job) {
  perigee_database_fail(job);
  perigee_database_close(job->disk);
  return -1;
}

static int damaged(perigee_disk_job *job) {
  perigee_database_close(job->disk);
  sqlite3_snprintf(PERIGEE_JOB_TEXT, job->error, "the file is damaged");
  move_aside(job);
  return fail(job, "the file is damaged");
}

static int open_once(perigee_disk_job *job) {
  perigee_disk *disk = job->disk;
  if (make_file(job)) return -1;
  if (connect(disk)) return give_up(job);
  switch (whose(disk)) {
    case BROKEN:
      return give_up(job);
    case FOREIGN:
      return refuse(job, "is a database, but not one of Perigee's; it is left alone");
    case LATER:
      return refuse(job, "was made by a later version of Perigee; it is left alone");
    case EMPTY:
      if (initialize(disk)) return give_up(job);
  }
  if (is_broken(disk)) return damaged(job);
  if (configure(disk) || prepare(disk)) return give_up(job);
  disk->generation = job->generation;
  return 0;
}

/* Of a fork's parent the child has a copy that it must not touch, nor close. */
static void drop_inherited(perigee_disk *disk) {
  disk->put = disk->delete = disk->clear = disk->read = NULL;
  disk->db = NULL;
}

int perigee_database_open(perigee_disk_job *job) {
  perigee_disk *disk = job->disk;
  if (disk->db && disk->generation != job->generation) drop_inherited(disk);
  if (disk->db) return 0;
  if (open_once(job) == 0) return 0;
  return job->notice[0] ? open_once(job) : -1; /* a damaged file made way for a new one */
}
