/* SPDX-License-Identifier: MIT
 *
 * index.h: from (space, word) to slot. Private to the core.
 *
 * Open addressing with linear probing over 4-byte cells, at most three quarters full:
 *
 *   cell = | tag: high bits of the cell, from the hash | slot + 1: low `slot_bits` |   0 = empty
 *
 * The tag saves most looks at entries of other keys; the entry itself holds the key. Removal
 * shifts the cluster back (no tombstones; Knuth, TAOCP 3, 6.4 algorithm R).
 */
#ifndef PERIGEE_INDEX_H
#define PERIGEE_INDEX_H

#include "base/hash.h"
#include "core/entry.h"

typedef struct perigee_index {
  uint32_t *cells;
  uint64_t seed;
  uint32_t mask;      /* cells - 1; a power of two minus one */
  uint32_t slot_mask; /* low bits of a cell that hold slot + 1 */
  uint8_t slot_bits;
  uint8_t shift;      /* 64 - log2(cells) */
} perigee_index;

/* Makes an empty index for slots 0 .. capacity-1. 0, or -1 with `index` untouched. */
int perigee_index_init(perigee_index *index, uint32_t capacity, uint64_t seed);
void perigee_index_fini(perigee_index *index);

/* How many slots this index can serve. */
uint32_t perigee_index_capacity(const perigee_index *index);

void perigee_index_insert(perigee_index *index, const perigee_entry *entries, uint32_t slot);
void perigee_index_remove(perigee_index *index, const perigee_entry *entries, uint32_t slot);

static inline uint64_t perigee_index_hash(const perigee_index *index, uint32_t space,
                                          uint64_t word) {
  return perigee_hash_fold(word ^ index->seed, PERIGEE_HASH_K0 ^ ((uint64_t)space << 17));
}

static inline uint32_t perigee_index_find(const perigee_index *index,
                                          const perigee_entry *entries, uint32_t space,
                                          uint64_t word) {
  uint64_t hash = perigee_index_hash(index, space, word);
  uint32_t tag = (uint32_t)(hash << index->slot_bits);
  for (uint32_t at = (uint32_t)(hash >> index->shift);; at = (at + 1) & index->mask) {
    uint32_t cell = index->cells[at];
    if (cell == 0) return PERIGEE_NONE;
    if (((cell ^ tag) & ~index->slot_mask) != 0) continue;
    uint32_t slot = (cell & index->slot_mask) - 1;
    if (PERIGEE_LIKELY(entries[slot].word == word && entries[slot].space == space)) return slot;
  }
}

#endif
