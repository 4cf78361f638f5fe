/* SPDX-License-Identifier: MIT */
#include "core/ghost.h"

#include "base/hash.h"

enum {
  WAYS = PERIGEE_GHOST_WAYS,
  KEYS_PER_BUCKET = WAYS / 2,
  SMALL = 1024, /* a ghost of so few keys is exact: its buckets are three quarters empty */
  MOST_PLACES = 1 << 16,
  MOST_KEYS_PER_PLACE = 128, /* `adds` is counted in bytes */
  MOST_KEYS = MOST_PLACES / 2 * MOST_KEYS_PER_PLACE,
};

_Static_assert(sizeof(perigee_ghost_bucket) == PERIGEE_LINE, "a look-up reads one cache line");

static size_t bytes_for(uint32_t buckets, uint32_t places) {
  return (size_t)buckets * sizeof(perigee_ghost_bucket) + places;
}

int perigee_ghost_init(perigee_ghost *ghost, uint32_t capacity) {
  if (capacity > MOST_KEYS) capacity = MOST_KEYS;
  uint32_t per_bucket = capacity > SMALL ? KEYS_PER_BUCKET : KEYS_PER_BUCKET / 2;
  uint32_t count = (capacity + per_bucket - 1) / per_bucket, places = 2, shift = 0;
  while (places < 2 * capacity && places < MOST_PLACES) places *= 2;
  while (places << shift < 2 * capacity) shift++;
  void *memory;
  perigee_ghost_bucket *buckets = perigee_zalloc_lines(bytes_for(count, places), &memory);
  if (!buckets) return -1;
  *ghost = (perigee_ghost){
    .buckets = buckets,
    .memory = memory,
    .adds = (uint8_t *)(buckets + count),
    .count = count,
    .mask = places - 1,
    .shift = shift,
    .capacity = capacity,
  };
  return 0;
}

void perigee_ghost_fini(perigee_ghost *ghost) {
  perigee_dealloc(ghost->memory);
  *ghost = (perigee_ghost){.count = 0};
}

size_t perigee_ghost_bytes(const perigee_ghost *ghost) {
  return ghost->memory ? perigee_line_bytes(bytes_for(ghost->count, ghost->mask + 1)) : 0;
}

static uint32_t *bucket_of(const perigee_ghost *ghost, uint32_t content) {
  return ghost->buckets[perigee_hash_range(content, ghost->count)].cells;
}

static uint32_t place_now(const perigee_ghost *ghost) {
  return ghost->added >> ghost->shift;
}

/* How many places it is from an older one to a newer one: they are numbered modulo 65,536. */
static uint32_t distance(uint32_t older, uint32_t newer) {
  return (newer - older) & (MOST_PLACES - 1);
}

static void drop_oldest_place(perigee_ghost *ghost) {
  uint8_t *adds = &ghost->adds[ghost->tail++ & ghost->mask];
  ghost->keys -= *adds;
  *adds = 0;
}

static int is_empty(const perigee_ghost *ghost, uint32_t cell) {
  return cell == 0 || distance(ghost->tail, cell >> 16) > distance(ghost->tail, place_now(ghost));
}

/* An empty cell of a bucket, or else any. Half of them are empty; each look begins at another one,
 * so that none stays for 65,536 places, when its number would be used again. */
static uint32_t *cell_for(const perigee_ghost *ghost, uint32_t content) {
  uint32_t *cells = bucket_of(ghost, content), first = (ghost->added * 0x9E3779B1u) >> 16;
  for (uint32_t i = first; i < first + WAYS; i++)
    if (is_empty(ghost, cells[i % WAYS])) return &cells[i % WAYS];
  return &cells[first % WAYS];
}

void perigee_ghost_add(perigee_ghost *ghost, uint32_t content) {
  if (ghost->count == 0) return;
  uint32_t now = place_now(ghost);
  while (distance(ghost->tail, now) > ghost->mask) drop_oldest_place(ghost);
  *cell_for(ghost, content) = now << 16 | perigee_hash_fingerprint(content);
  ghost->adds[now & ghost->mask]++;
  ghost->keys++;
  ghost->added++;
  while (ghost->keys - ghost->adds[ghost->tail & ghost->mask] >= ghost->capacity)
    drop_oldest_place(ghost);
}

/* Whether a fingerprint is in a bucket. No branch, so that the compiler compares many at once. */
static int has(const uint32_t *cells, uint32_t fingerprint) {
  uint32_t seen = 0;
  for (int i = 0; i < WAYS; i++) seen |= (cells[i] & 0xFFFF) == fingerprint ? 1 : 0;
  return seen != 0;
}

int perigee_ghost_take(perigee_ghost *ghost, uint32_t content) {
  if (ghost->count == 0) return 0;
  uint32_t *cells = bucket_of(ghost, content), fingerprint = perigee_hash_fingerprint(content);
  if (!has(cells, fingerprint)) return 0;
  for (int i = 0; i < WAYS; i++) {
    if ((cells[i] & 0xFFFF) != fingerprint || is_empty(ghost, cells[i])) continue;
    uint8_t *adds = &ghost->adds[cells[i] >> 16 & ghost->mask];
    cells[i] = 0;
    if (*adds == 0) continue; /* another key's, of 65,536 places ago */
    --*adds;
    ghost->keys--;
    return 1;
  }
  return 0;
}

const char *perigee_ghost_verify(const perigee_ghost *ghost) {
  uint32_t keys = 0, length = distance(ghost->tail, place_now(ghost));
  if (ghost->count == 0) return NULL;
  PERIGEE_VERIFY(length <= ghost->mask + 1);
  for (uint32_t i = 0; i <= ghost->mask; i++) keys += ghost->adds[i];
  PERIGEE_VERIFY(keys == ghost->keys);
  PERIGEE_VERIFY(keys < ghost->capacity + (1u << ghost->shift));
  return NULL;
}
