/* SPDX-License-Identifier: MIT
 *
 * disk.h: entries in a SQLite file, written and read by one thread of their own.
 *
 * A *disk* is one file; a *job* is what the thread does for it: a batch of writes, in one
 * transaction, or a read of some rows. Jobs of a process are done one after another, in the order
 * in which they were submitted. Whoever submits one looks at its state now and then, or blocks.
 *
 * The file holds one table, entry (cache, key, value): text and blobs that mean nothing here. It
 * is made with mode 0600; a symbolic link is not followed. A file that is damaged is moved aside
 * and a fresh one begun (the job says so in its notice); a database of somebody else's is refused
 * and left alone. Several processes may have one file open.
 *
 * Threads: all of these functions belong to the thread of the Lua state. The disk thread blocks
 * all signals, calls nobody, and ends with the last disk. After a fork, the child's disks open
 * anew at their next job.
 */
#ifndef PERIGEE_DISK_H
#define PERIGEE_DISK_H

#include "base/base.h"

/* ffi: begin */
enum { PERIGEE_DISK_ABI = 2 }; /* changes whenever a declaration in an ffi block changes */

/* perigee_disk_abi: the PERIGEE_DISK_ABI this library was built with. */
int32_t perigee_disk_abi(void);

/* perigee_disk_fail_at: makes the n-th allocation of this library from now fail, once (tests).
 * Returns what was left of the last order; 0: it has been carried out, or there was none. */
uint32_t perigee_disk_fail_at(uint32_t n);

/* When a commit is on the disk: what a loss of power may take away. */
enum {
  PERIGEE_DISK_SYNC_OFF,    /* the file may be damaged (it is checked when it is opened) */
  PERIGEE_DISK_SYNC_NORMAL, /* the last commits */
  PERIGEE_DISK_SYNC_FULL,   /* nothing that was committed */
};

/* states of a job */
enum {
  PERIGEE_DISK_COLLECTING, /* a batch that was not submitted */
  PERIGEE_DISK_WAITING,
  PERIGEE_DISK_DONE,
  PERIGEE_DISK_FAILED,
};

typedef struct perigee_disk perigee_disk;
typedef struct perigee_disk_job perigee_disk_job;

typedef struct perigee_disk_row { /* borrowed from its job */
  const char *key;
  const char *value; /* NULL: larger than the disk's bound */
  uint32_t key_length;
  uint32_t value_length;
} perigee_disk_row;

/* perigee_disk_new: the file is opened with the first job. `max_bytes`: of a value to be read.
 * NULL: memory is out. perigee_disk_free waits for its jobs and closes the file. */
perigee_disk *perigee_disk_new(const char *path, int32_t sync, double max_bytes);
void perigee_disk_free(perigee_disk *disk);

/* Jobs are owned by the caller, may outlive their disk, and may be freed at any time: one that
 * waits is done all the same. */
void perigee_disk_job_free(perigee_disk_job *job);

/* perigee_disk_batch: an empty batch of writes to the entries of one cache. NULL: memory is out. */
perigee_disk_job *perigee_disk_batch(perigee_disk *disk, const char *cache, uint32_t length);

/* Each adds one write to a batch, in order. 0, or -1: memory is out, or the batch would pass 2 GB
 * (the batch is as it was). */
int32_t perigee_disk_put(perigee_disk_job *batch, const char *key, uint32_t key_length,
                         const char *value, uint32_t value_length);
int32_t perigee_disk_delete(perigee_disk_job *batch, const char *key, uint32_t key_length);
int32_t perigee_disk_clear(perigee_disk_job *batch);

double perigee_disk_batch_bytes(const perigee_disk_job *batch);

/* perigee_disk_submit: the batch is to be written now. 0, or -1: there can be no thread (the
 * batch is as it was). */
int32_t perigee_disk_submit(perigee_disk_job *batch);

/* perigee_disk_read: submits a read of rows of a cache, in the order of their keys, behind the key
 * `after` ("": from the start), until they have about `bytes`. NULL: memory is out. */
perigee_disk_job *perigee_disk_read(perigee_disk *disk, const char *cache, uint32_t length,
                                    const char *after, uint32_t after_length, uint32_t bytes);

/* perigee_disk_close: submits that the file be closed, its log written into it. The next job opens it
 * again. NULL: memory is out. */
perigee_disk_job *perigee_disk_close(perigee_disk *disk);

/* perigee_disk_state: where a job is. perigee_disk_wait blocks until it is done or has failed. */
int32_t perigee_disk_state(perigee_disk_job *job);
int32_t perigee_disk_wait(perigee_disk_job *job);

/* Of a job that has ended. _error: why it failed. _notice: what happened to the file when it was
 * opened for this job, or NULL. Texts are valid as long as the job. */
const char *perigee_disk_error(const perigee_disk_job *job);
const char *perigee_disk_notice(const perigee_disk_job *job);

/* perigee_disk_next_row: 1 and the next row of a read that is done; 0: there is none; more may
 * follow if perigee_disk_is_last is 0. */
int32_t perigee_disk_next_row(perigee_disk_job *job, perigee_disk_row *row);
int32_t perigee_disk_is_last(const perigee_disk_job *job);

/* perigee_disk_last_row: the last row of a read that is done, wherever the reading is. 0: none. */
int32_t perigee_disk_last_row(const perigee_disk_job *job, perigee_disk_row *row);
/* ffi: end */

#endif
