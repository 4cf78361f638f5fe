/* SPDX-License-Identifier: MIT
 *
 * The face of the library: disks, and jobs on their way to the thread.
 *
 *   disk.c ──► worker.c ──► rows.c ──► database.c ──► SQLite
 *                 │            │
 *                 └────────────┴──► job.c
 */
#include "disk/disk.h"

#include "disk/database.h"
#include "disk/worker.h"

#include <string.h>

PERIGEE_API int32_t perigee_disk_abi(void) {
  return PERIGEE_DISK_ABI;
}

PERIGEE_API uint32_t perigee_disk_fail_at(uint32_t n) {
  return perigee_alloc_fail_at(n);
}

PERIGEE_API perigee_disk *perigee_disk_new(const char *path, int32_t sync, double max_bytes) {
  perigee_disk *disk = perigee_zalloc(sizeof *disk);
  if (!disk) return NULL;
  disk->path = perigee_job_copy(path, (uint32_t)strlen(path));
  if (!disk->path) {
    perigee_dealloc(disk);
    return NULL;
  }
  disk->sync = sync;
  disk->max_bytes = max_bytes;
  perigee_worker_enter();
  return disk;
}

PERIGEE_API void perigee_disk_free(perigee_disk *disk) {
  if (!disk) return;
  perigee_worker_finish(disk);
  perigee_worker_leave();
  if (disk->generation == perigee_worker_generation()) perigee_database_close(disk);
  perigee_dealloc(disk->path);
  perigee_dealloc(disk);
}

PERIGEE_API int32_t perigee_disk_submit(perigee_disk_job *batch) {
  return perigee_worker_submit(batch);
}

/* Submits a job that was just made, or makes away with it. */
static perigee_disk_job *submitted(perigee_disk_job *job) {
  if (perigee_worker_submit(job) == 0) return job;
  perigee_job_destroy(job);
  return NULL;
}

PERIGEE_API perigee_disk_job *perigee_disk_read(perigee_disk *disk, const char *cache,
                                                uint32_t length, const char *after,
                                                uint32_t after_length, uint32_t bytes) {
  perigee_disk_job *job = perigee_disk_batch(disk, cache, length);
  if (!job) return NULL;
  job->kind = PERIGEE_JOB_READ;
  job->after = perigee_job_copy(after, after_length);
  job->after_length = after_length;
  job->wanted = bytes;
  if (job->after) return submitted(job);
  perigee_job_destroy(job);
  return NULL;
}

PERIGEE_API perigee_disk_job *perigee_disk_close(perigee_disk *disk) {
  perigee_disk_job *job = perigee_disk_batch(disk, "", 0);
  if (!job) return NULL;
  job->kind = PERIGEE_JOB_CLOSE;
  return submitted(job);
}
