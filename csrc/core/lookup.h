/* SPDX-License-Identifier: MIT
 *
 * lookup.h: finds the numbers of a pool's records by hash. Inline, internal.
 *
 * Open addressing over (hash, number) with linear probing, at most half full. Removal shifts
 * the cluster back, so there are no tombstones (Knuth, TAOCP 3, 6.4, algorithm R). What "equal"
 * means is the caller's: it walks the entries from the home of a hash to the next empty one.
 *
 *     home of h, i, j                      remove i:
 *     v                                    v
 *     | h | i | j | k |   |                | h | j | k |   |   |
 *               ^ home of k
 */
#ifndef PERIGEE_LOOKUP_H
#define PERIGEE_LOOKUP_H

#include "core/pool.h"

typedef struct perigee_lookup_entry {
  uint32_t hash;
  uint32_t number; /* PERIGEE_POOL_NONE: empty */
} perigee_lookup_entry;

typedef struct perigee_lookup {
  perigee_lookup_entry *entries;
  uint32_t mask; /* a power of two, less one */
  uint32_t count;
} perigee_lookup;

static inline perigee_lookup_entry *perigee_lookup_alloc(uint32_t capacity) {
  perigee_lookup_entry *entries = perigee_alloc((size_t)capacity * sizeof *entries);
  if (entries) memset(entries, 0xFF, (size_t)capacity * sizeof *entries);
  return entries;
}

/* perigee_lookup_init: 0, or -1 when memory is out. A lookup always has an empty entry. */
static inline int perigee_lookup_init(perigee_lookup *lookup) {
  uint32_t capacity = PERIGEE_IF_HARD(2, 64);
  lookup->entries = perigee_lookup_alloc(capacity);
  lookup->mask = capacity - 1;
  lookup->count = 0;
  return lookup->entries ? 0 : -1;
}

static inline void perigee_lookup_fini(perigee_lookup *lookup) {
  perigee_dealloc(lookup->entries);
}

/* The entries that may have `hash`, one after the other:
 *   for (at = perigee_lookup_first(lookup, hash); perigee_lookup_more(lookup, at);
 *        at = perigee_lookup_next(lookup, at)) */
static inline uint32_t perigee_lookup_first(const perigee_lookup *lookup, uint32_t hash) {
  return hash & lookup->mask;
}

static inline int perigee_lookup_more(const perigee_lookup *lookup, uint32_t at) {
  return lookup->entries[at].number != PERIGEE_POOL_NONE;
}

static inline uint32_t perigee_lookup_next(const perigee_lookup *lookup, uint32_t at) {
  return (at + 1) & lookup->mask;
}

/* perigee_lookup_insert: adds an entry for which perigee_lookup_reserve made room. */
static inline void perigee_lookup_insert(perigee_lookup *lookup, uint32_t hash, uint32_t number) {
  uint32_t at = perigee_lookup_first(lookup, hash);
  while (perigee_lookup_more(lookup, at)) at = perigee_lookup_next(lookup, at);
  lookup->entries[at] = (perigee_lookup_entry){hash, number};
  lookup->count++;
}

/* perigee_lookup_reserve: makes room for one more. 0, or -1 when memory is out. */
static inline int perigee_lookup_reserve(perigee_lookup *lookup) {
  /* A hard build fills the table up to one empty entry, so that probes run long. */
  if (lookup->count < PERIGEE_IF_HARD(lookup->mask, (lookup->mask + 1) / 2)) return 0;
  perigee_lookup grown = {NULL, lookup->mask * 2 + 1, 0};
  grown.entries = perigee_lookup_alloc(grown.mask + 1);
  if (!grown.entries) return -1;
  for (uint32_t at = 0; at <= lookup->mask; at++) {
    perigee_lookup_entry entry = lookup->entries[at];
    if (entry.number != PERIGEE_POOL_NONE) perigee_lookup_insert(&grown, entry.hash, entry.number);
  }
  perigee_lookup_fini(lookup);
  *lookup = grown;
  return 0;
}

/* perigee_lookup_locate: where the entry of record `number` is; it must be there. */
static inline uint32_t perigee_lookup_locate(const perigee_lookup *lookup, uint32_t hash,
                                             uint32_t number) {
  uint32_t at = perigee_lookup_first(lookup, hash);
  while (lookup->entries[at].number != number) at = perigee_lookup_next(lookup, at);
  return at;
}

/* perigee_lookup_remove: empties the entry, and moves back the later ones that probed over it. */
static inline void perigee_lookup_remove(perigee_lookup *lookup, uint32_t at) {
  uint32_t hole = at;
  for (at = perigee_lookup_next(lookup, at); perigee_lookup_more(lookup, at);
       at = perigee_lookup_next(lookup, at)) {
    uint32_t probes = (at - lookup->entries[at].hash) & lookup->mask;
    if (probes < ((at - hole) & lookup->mask)) continue;
    lookup->entries[hole] = lookup->entries[at];
    hole = at;
  }
  lookup->entries[hole].number = PERIGEE_POOL_NONE;
  lookup->count--;
}

static inline const char *perigee_lookup_verify(const perigee_lookup *lookup) {
  uint32_t count = 0;
  PERIGEE_VERIFY((lookup->mask & (lookup->mask + 1)) == 0 && lookup->count <= lookup->mask);
  for (uint32_t at = 0; at <= lookup->mask; at++) {
    if (!perigee_lookup_more(lookup, at)) continue;
    count++;
    for (uint32_t i = perigee_lookup_first(lookup, lookup->entries[at].hash); i != at;
         i = perigee_lookup_next(lookup, i)) {
      PERIGEE_VERIFY(perigee_lookup_more(lookup, i));
    }
  }
  PERIGEE_VERIFY(count == lookup->count);
  return NULL;
}

#endif
