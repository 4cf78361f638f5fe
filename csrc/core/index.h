/* SPDX-License-Identifier: MIT
 *
 * index.h: from (space, word) to slot. Private to the core.
 *
 * Open addressing with linear probing over 4-byte cells, at most three quarters full:
 *
 *   cell = | tag, from the hash | distance : 4 | slot + 1, under `slot_mask` |     0 = empty
 *
 * The tag saves most looks at entries of other keys; the entry itself holds the key. Removal
 * moves cells back (no tombstones; Knuth, TAOCP 3, 6.4, algorithm R); for that each cell knows how
 * far it is from the first one that a look-up reads, or that it is farther than it can say. An
 * index of more than 2^28 slots has fewer bits for that, and looks at the entries. Measured against groups
 * of eight cells compared at once: those need half as many looks at this load, and cost more
 * instructions than the looks they save.
 */
#ifndef PERIGEE_INDEX_H
#define PERIGEE_INDEX_H

#include "base/hash.h"
#include "core/entry.h"

typedef struct perigee_index {
  uint32_t *cells;
  uint64_t seed;
  uint32_t mask;      /* cells - 1; cells are a power of two */
  uint32_t tag_mask;  /* high bits of a cell that hold the tag */
  uint32_t slot_mask; /* low bits that hold slot + 1 */
  uint32_t far_mask;  /* the bits between that hold the distance; all of them: or farther */
  uint32_t far_shift;
  uint32_t shift; /* 64 - log2(cells) */
} perigee_index;

/* Makes an empty index for slots 0 .. capacity-1. 0, or -1 with `index` untouched. */
int perigee_index_init(perigee_index *index, uint32_t capacity, uint64_t seed);
void perigee_index_fini(perigee_index *index);

/* How many slots this index can serve. */
uint32_t perigee_index_capacity(const perigee_index *index);
size_t perigee_index_bytes(const perigee_index *index);

void perigee_index_insert(perigee_index *index, const perigee_entry *entries,
                          const perigee_node *nodes, uint32_t slot);
void perigee_index_remove(perigee_index *index, const perigee_entry *entries,
                          const perigee_node *nodes, uint32_t slot);

/* How many cells a look-up of this slot's key reads. */
uint32_t perigee_index_probes(const perigee_index *index, const perigee_entry *entries,
                              const perigee_node *nodes, uint32_t slot);

static inline uint64_t perigee_index_hash(const perigee_index *index, uint32_t space,
                                          uint64_t word) {
  return perigee_hash_fold(word ^ index->seed, PERIGEE_HASH_K0 ^ ((uint64_t)space << 17));
}

/* The highest bits of the hash name the first cell (they spread addresses and counters best:
 * TAOCP 3, 6.4, Fibonacci hashing), the low half gives the tag. */
static inline uint32_t perigee_index_home(const perigee_index *index, uint64_t hash) {
  return (uint32_t)(hash >> index->shift);
}

static inline int perigee_index_tag_fits(const perigee_index *index, uint32_t cell, uint64_t hash) {
  return ((cell ^ (uint32_t)hash) & index->tag_mask) == 0;
}

/* The slot of a cell; PERIGEE_NONE for an empty one. */
static inline uint32_t perigee_index_slot(const perigee_index *index, uint32_t cell) {
  return (cell & index->slot_mask) - 1;
}

static inline uint32_t perigee_index_find(const perigee_index *index, const perigee_entry *entries,
                                          const perigee_node *nodes, uint32_t space,
                                          uint64_t word) {
  uint64_t hash = perigee_index_hash(index, space, word);
  for (uint32_t at = perigee_index_home(index, hash);; at = (at + 1) & index->mask) {
    uint32_t cell = index->cells[at];
    if (cell == 0) return PERIGEE_NONE;
    if (!perigee_index_tag_fits(index, cell, hash)) continue;
    uint32_t slot = perigee_index_slot(index, cell);
    if (entries[slot].word == word && perigee_entry_space(&entries[slot], &nodes[slot]) == space)
      return slot;
  }
}

#endif
