/* SPDX-License-Identifier: MIT
 *
 * index.h: from (space, word) to slot. Private to the core.
 *
 * Open addressing over groups of eight 4-byte cells, at most three quarters full. A key lives in
 * the group its hash names, or, while groups are full, in the next one that was not:
 *
 *   group   | c | c | c | 0 | c | 0 | 0 | 0 |    32 bytes, never across a cache line
 *   cell    = | tag: high bits, from the hash | slot + 1: low `slot_bits` |   0 = empty
 *
 * All tags of a group are compared at once, so a look-up has no branch that depends on where in
 * the group the key is (the idea of Abseil's Swiss tables); the tag saves most looks at entries
 * of other keys, and the entry itself holds the key. A look-up ends at the first group that
 * has an empty cell. Removal keeps that true by moving cells back (no tombstones; after Knuth,
 * TAOCP 3, 6.4, algorithm R).
 */
#ifndef PERIGEE_INDEX_H
#define PERIGEE_INDEX_H

#include "base/hash.h"
#include "core/entry.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { PERIGEE_GROUP = 8 };

typedef struct perigee_index {
  uint32_t *cells; /* aligned to a group */
  void *block;     /* what was allocated */
  uint64_t seed;
  uint32_t mask;      /* groups - 1; groups are a power of two */
  uint32_t slot_mask; /* low bits of a cell that hold slot + 1 */
} perigee_index;

/* Makes an empty index for slots 0 .. capacity-1. 0, or -1 with `index` untouched. */
int perigee_index_init(perigee_index *index, uint32_t capacity, uint64_t seed);
void perigee_index_fini(perigee_index *index);

/* How many slots this index can serve. */
uint32_t perigee_index_capacity(const perigee_index *index);
size_t perigee_index_bytes(const perigee_index *index);

void perigee_index_insert(perigee_index *index, const perigee_entry *entries, uint32_t slot);
void perigee_index_remove(perigee_index *index, const perigee_entry *entries, uint32_t slot);

/* How many groups a look-up of this slot's key reads. */
uint32_t perigee_index_probes(const perigee_index *index, const perigee_entry *entries,
                              uint32_t slot);

static inline uint64_t perigee_index_hash(const perigee_index *index, uint32_t space,
                                          uint64_t word) {
  return perigee_hash_fold(word ^ index->seed, PERIGEE_HASH_K0 ^ ((uint64_t)space << 17));
}

/* The high half of the hash names the group, the low half gives the tag. */
static inline uint32_t perigee_index_group(const perigee_index *index, uint64_t hash) {
  return (uint32_t)(hash >> 32) & index->mask;
}

static inline uint32_t perigee_index_tag(const perigee_index *index, uint64_t hash) {
  return (uint32_t)hash & ~index->slot_mask;
}

/* A bit for each cell of a group whose bits under `mask` equal `wanted`. */
static inline uint32_t perigee_group_match(const uint32_t *cells, uint32_t mask, uint32_t wanted) {
#ifdef __SSE2__
  __m128i masks = _mm_set1_epi32((int)mask), wants = _mm_set1_epi32((int)wanted);
  __m128i low = _mm_load_si128((const __m128i *)(const void *)cells);
  __m128i high = _mm_load_si128((const __m128i *)(const void *)(cells + 4));
  low = _mm_cmpeq_epi32(_mm_and_si128(low, masks), wants);
  high = _mm_cmpeq_epi32(_mm_and_si128(high, masks), wants);
  return (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(low)) |
         (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(high)) << 4;
#else
  uint32_t bits = 0;
  for (uint32_t i = 0; i < PERIGEE_GROUP; i++) bits |= (uint32_t)((cells[i] & mask) == wanted) << i;
  return bits;
#endif
}

static inline uint32_t perigee_index_find(const perigee_index *index, const perigee_entry *entries,
                                          uint32_t space, uint64_t word) {
  uint64_t hash = perigee_index_hash(index, space, word);
  uint32_t tag = perigee_index_tag(index, hash);
  for (uint32_t group = perigee_index_group(index, hash);; group = (group + 1) & index->mask) {
    const uint32_t *cells = index->cells + (size_t)group * PERIGEE_GROUP;
    uint32_t matches = perigee_group_match(cells, ~index->slot_mask, tag);
    for (; matches; matches &= matches - 1) {
      uint32_t slot = (cells[__builtin_ctz(matches)] & index->slot_mask) - 1;
      if (PERIGEE_UNLIKELY(slot == PERIGEE_NONE)) continue; /* an empty cell and a tag of 0 */
      if (PERIGEE_LIKELY(entries[slot].word == word && entries[slot].space == space)) return slot;
    }
    if (perigee_group_match(cells, UINT32_MAX, 0)) return PERIGEE_NONE;
  }
}

#endif
