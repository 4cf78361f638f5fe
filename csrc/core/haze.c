/* SPDX-License-Identifier: MIT */
#include "core/haze.h"

#include "base/hash.h"

enum { WAYS = PERIGEE_HAZE_WAYS };

int perigee_haze_init(perigee_haze *haze, uint32_t capacity) {
  uint32_t count = capacity / WAYS + 1;
  void *buckets = perigee_zalloc((size_t)count * sizeof *haze->buckets);
  if (!buckets) return -1;
  *haze = (perigee_haze){.buckets = buckets, .count = count};
  return 0;
}

void perigee_haze_fini(perigee_haze *haze) {
  perigee_dealloc(haze->buckets);
  *haze = (perigee_haze){NULL, 0};
}

size_t perigee_haze_bytes(const perigee_haze *haze) {
  return (size_t)haze->count * sizeof *haze->buckets;
}

static uint16_t *bucket_of(const perigee_haze *haze, uint32_t content) {
  return haze->buckets[perigee_hash_range(content, haze->count)];
}

void perigee_haze_add(perigee_haze *haze, uint32_t content) {
  if (haze->count == 0) return;
  uint16_t *bucket = bucket_of(haze, content);
  memmove(bucket + 1, bucket, (WAYS - 1) * sizeof *bucket);
  bucket[0] = (uint16_t)perigee_hash_fingerprint(content);
}

/* The comparison has no branch, so that the compiler does all eight at once. */
int perigee_haze_take(perigee_haze *haze, uint32_t content) {
  if (haze->count == 0) return 0;
  uint16_t *bucket = bucket_of(haze, content), seen = 0;
  uint16_t fingerprint = (uint16_t)perigee_hash_fingerprint(content);
  for (int i = 0; i < WAYS; i++) {
    uint16_t same = bucket[i] == fingerprint ? 0xFFFF : 0;
    bucket[i] &= (uint16_t)~same;
    seen |= same;
  }
  return seen != 0;
}
