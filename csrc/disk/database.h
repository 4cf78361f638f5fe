/* SPDX-License-Identifier: MIT
 *
 * database.h: one SQLite file: opened, checked, and moved aside when it is damaged. Private to the
 * disk library; all of this runs in the disk thread.
 */
#ifndef PERIGEE_DISK_DATABASE_H
#define PERIGEE_DISK_DATABASE_H

#include "disk/job.h"

#include <sqlite3.h>

struct perigee_disk {
  char *path;
  int sync;
  double max_bytes;
  sqlite3 *db; /* NULL: not open */
  sqlite3_stmt *put;
  sqlite3_stmt *delete;
  sqlite3_stmt *clear;
  sqlite3_stmt *read;
  uint32_t generation; /* of the process that opened it */
};

/* perigee_database_open: opens the job's file if it is not open. 0, or -1 with the job's error
 * set; what was done to the file is in the job's notice. */
int perigee_database_open(perigee_disk_job *job);

/* perigee_database_fail: notes SQLite's last error as the job's; a damaged file is moved aside.
 * Returns -1. */
int perigee_database_fail(perigee_disk_job *job);

void perigee_database_close(perigee_disk *disk);

/* rows.c: perigee_database_do: does a job. 0, or -1 with the job's error set. */
int perigee_database_do(perigee_disk_job *job);

#endif
