/* SPDX-License-Identifier: MIT */
#include "core/ghost.h"

#include <string.h>

enum { WAYS = PERIGEE_GHOST_WAYS };

int perigee_ghost_init(perigee_ghost *ghost, uint32_t capacity) {
  uint32_t count = capacity / WAYS + 1;
  void *buckets = perigee_zalloc((size_t)count * sizeof *ghost->buckets);
  if (!buckets) return -1;
  *ghost = (perigee_ghost){.buckets = buckets, .count = count};
  return 0;
}

void perigee_ghost_fini(perigee_ghost *ghost) {
  perigee_dealloc(ghost->buckets);
  ghost->buckets = NULL;
}

size_t perigee_ghost_bytes(const perigee_ghost *ghost) {
  return (size_t)ghost->count * sizeof *ghost->buckets;
}

static uint16_t *bucket_of(const perigee_ghost *ghost, uint32_t content) {
  return ghost->buckets[((uint64_t)content * ghost->count) >> 32];
}

/* Never 0, which marks an empty place. */
static uint16_t fingerprint_of(uint32_t content) {
  return (content & 0xFFFF) ? (uint16_t)content : 1;
}

void perigee_ghost_add(perigee_ghost *ghost, uint32_t content) {
  uint16_t *bucket = bucket_of(ghost, content);
  memmove(bucket + 1, bucket, (WAYS - 1) * sizeof *bucket);
  bucket[0] = fingerprint_of(content);
}

/* The comparison has no branch, so that the compiler does all eight at once. */
int perigee_ghost_take(perigee_ghost *ghost, uint32_t content) {
  uint16_t *bucket = bucket_of(ghost, content), fingerprint = fingerprint_of(content), seen = 0;
  for (int i = 0; i < WAYS; i++) {
    uint16_t same = bucket[i] == fingerprint ? 0xFFFF : 0;
    bucket[i] &= (uint16_t)~same;
    seen |= same;
  }
  return seen != 0;
}
