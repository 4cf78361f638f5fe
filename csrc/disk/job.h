/* SPDX-License-Identifier: MIT
 *
 * job.h: a job and what it carries. Private to the disk library.
 *
 * The bytes of a batch are its writes, one after another; those of a read that is done, its rows:
 *
 *     what : 1 | key length : 4 | value length : 4 | key | value
 *
 * From submit until its state says DONE or FAILED a job belongs to the disk thread.
 */
#ifndef PERIGEE_DISK_JOB_H
#define PERIGEE_DISK_JOB_H

#include "disk/disk.h"

enum { PERIGEE_JOB_TEXT = 512, PERIGEE_JOB_HEAD = 9 };

enum { PERIGEE_JOB_WRITE, PERIGEE_JOB_READ, PERIGEE_JOB_CLOSE };

/* what a record is */
enum { PERIGEE_RECORD_PUT, PERIGEE_RECORD_DELETE, PERIGEE_RECORD_CLEAR, PERIGEE_RECORD_TOO_LARGE };

typedef struct perigee_disk_record {
  int what;
  perigee_disk_row row;
} perigee_disk_record;

struct perigee_disk_job {
  perigee_disk *disk;
  perigee_disk_job *next; /* in the queue */
  char *cache;
  uint32_t cache_length;
  int kind;
  uint32_t generation; /* another number in each process that came from a fork */
  char *after;         /* of a read: where it goes on */
  uint32_t after_length;
  uint32_t wanted; /* of a read: bytes */
  int is_last;
  char *bytes;
  uint32_t size;
  uint32_t capacity;
  uint32_t at;   /* where the next record is read */
  uint32_t last; /* where the last one stands */
  /* guarded by the worker's mutex: */
  int state;
  int abandoned; /* freed by its owner: the thread frees it */
  char error[PERIGEE_JOB_TEXT];
  char notice[PERIGEE_JOB_TEXT];
};

/* perigee_job_add: appends a record. 0, or -1 with the job as it was. */
int perigee_job_add(perigee_disk_job *job, int what, const perigee_disk_row *row);

/* perigee_job_next: 1 and the next record; 0 at the end. perigee_job_rewind: from the start. */
int perigee_job_next(perigee_disk_job *job, perigee_disk_record *record);
void perigee_job_rewind(perigee_disk_job *job);

/* perigee_job_copy: a copy of some bytes, with a NUL behind them; NULL: memory is out. */
char *perigee_job_copy(const char *text, uint32_t length);

/* perigee_job_destroy: frees it. Nobody may use it any more. */
void perigee_job_destroy(perigee_disk_job *job);

#endif
