/* SPDX-License-Identifier: MIT */
#include "disk/job.h"

#include <string.h>

static uint32_t length_at(const char *bytes) {
  uint32_t length;
  memcpy(&length, bytes, sizeof length);
  return length;
}

int perigee_job_add(perigee_disk_job *job, int what, const perigee_disk_row *row) {
  uint64_t needed = (uint64_t)job->size + PERIGEE_JOB_HEAD + row->key_length + row->value_length;
  if (needed > INT32_MAX) return -1;
  if (perigee_grow((void **)&job->bytes, &job->capacity, (uint32_t)needed, 1)) return -1;
  char *at = job->bytes + job->size;
  job->last = job->size;
  *at = (char)what;
  memcpy(at + 1, &row->key_length, 4);
  memcpy(at + 5, &row->value_length, 4);
  if (row->key_length) memcpy(at + PERIGEE_JOB_HEAD, row->key, row->key_length);
  if (row->value_length)
    memcpy(at + PERIGEE_JOB_HEAD + row->key_length, row->value, row->value_length);
  job->size = (uint32_t)needed;
  return 0;
}

static void record_at(const char *at, perigee_disk_record *record) {
  perigee_disk_row *row = &record->row;
  record->what = *at;
  row->key_length = length_at(at + 1);
  row->value_length = length_at(at + 5);
  row->key = at + PERIGEE_JOB_HEAD;
  row->value = record->what == PERIGEE_RECORD_TOO_LARGE ? NULL : row->key + row->key_length;
}

int perigee_job_next(perigee_disk_job *job, perigee_disk_record *record) {
  if (job->at >= job->size) return 0;
  record_at(job->bytes + job->at, record);
  job->at += PERIGEE_JOB_HEAD + record->row.key_length + record->row.value_length;
  return 1;
}

void perigee_job_rewind(perigee_disk_job *job) {
  job->at = 0;
}

void perigee_job_destroy(perigee_disk_job *job) {
  if (!job) return;
  perigee_dealloc(job->cache);
  perigee_dealloc(job->after);
  perigee_dealloc(job->bytes);
  perigee_dealloc(job);
}

char *perigee_job_copy(const char *text, uint32_t length) {
  char *copy = perigee_alloc((size_t)length + 1);
  if (!copy) return NULL;
  memcpy(copy, text, length);
  copy[length] = '\0';
  return copy;
}

PERIGEE_API perigee_disk_job *perigee_disk_batch(perigee_disk *disk, const char *cache,
                                                 uint32_t length) {
  perigee_disk_job *job = perigee_zalloc(sizeof *job);
  if (!job) return NULL;
  job->disk = disk;
  job->cache = perigee_job_copy(cache, length);
  job->cache_length = length;
  if (job->cache) return job;
  perigee_job_destroy(job);
  return NULL;
}

PERIGEE_API int32_t perigee_disk_put(perigee_disk_job *batch, const char *key, uint32_t key_length,
                                     const char *value, uint32_t value_length) {
  perigee_disk_row row = {key, value, key_length, value_length};
  return perigee_job_add(batch, PERIGEE_RECORD_PUT, &row);
}

PERIGEE_API int32_t perigee_disk_delete(perigee_disk_job *batch, const char *key,
                                        uint32_t key_length) {
  perigee_disk_row row = {.key = key, .key_length = key_length};
  return perigee_job_add(batch, PERIGEE_RECORD_DELETE, &row);
}

PERIGEE_API int32_t perigee_disk_clear(perigee_disk_job *batch) {
  perigee_disk_row row = {0};
  return perigee_job_add(batch, PERIGEE_RECORD_CLEAR, &row);
}

PERIGEE_API double perigee_disk_batch_bytes(const perigee_disk_job *batch) {
  return batch->size;
}

PERIGEE_API const char *perigee_disk_error(const perigee_disk_job *job) {
  return job->error;
}

PERIGEE_API const char *perigee_disk_notice(const perigee_disk_job *job) {
  return job->notice[0] ? job->notice : NULL;
}

PERIGEE_API int32_t perigee_disk_next_row(perigee_disk_job *job, perigee_disk_row *row) {
  perigee_disk_record record;
  if (!perigee_job_next(job, &record)) return 0;
  *row = record.row;
  return 1;
}

PERIGEE_API int32_t perigee_disk_is_last(const perigee_disk_job *job) {
  return job->is_last;
}

PERIGEE_API int32_t perigee_disk_last_row(const perigee_disk_job *job, perigee_disk_row *row) {
  perigee_disk_record record;
  if (job->size == 0) return 0;
  record_at(job->bytes + job->last, &record);
  *row = record.row;
  return 1;
}
