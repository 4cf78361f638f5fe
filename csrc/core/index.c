/* SPDX-License-Identifier: MIT */
#include "core/index.h"

/* A mask of enough low bits to hold `values`. */
static uint32_t mask_for(uint32_t values) {
  uint64_t bound = 1;
  while (bound <= values) bound *= 2;
  return (uint32_t)(bound - 1);
}

int perigee_index_init(perigee_index *index, uint32_t capacity, uint64_t seed) {
  uint32_t log2 = 3;
  while (((uint64_t)3 << log2) / 4 < capacity) log2++;
  uint64_t cells = 1ull << log2;
  uint32_t *block = perigee_zalloc(cells * sizeof *block);
  if (!block) return -1;
  *index = (perigee_index){
    .cells = block,
    .seed = seed,
    .mask = (uint32_t)(cells - 1),
    .slot_mask = mask_for(capacity),
    .shift = 64 - log2,
  };
  return 0;
}

void perigee_index_fini(perigee_index *index) {
  perigee_dealloc(index->cells);
  index->cells = NULL;
}

uint32_t perigee_index_capacity(const perigee_index *index) {
  uint64_t by_load = ((uint64_t)index->mask + 1) * 3 / 4;
  return by_load < index->slot_mask ? (uint32_t)by_load : index->slot_mask;
}

size_t perigee_index_bytes(const perigee_index *index) {
  return ((size_t)index->mask + 1) * sizeof *index->cells;
}

static uint64_t hash_of(const perigee_index *index, const perigee_entry *entries,
                        const perigee_node *nodes, uint32_t slot) {
  uint32_t space = perigee_entry_space(&entries[slot], &nodes[slot]);
  return perigee_index_hash(index, space, entries[slot].word);
}

static uint32_t home_of(const perigee_index *index, const perigee_entry *entries,
                        const perigee_node *nodes, uint32_t slot) {
  return perigee_index_home(index, hash_of(index, entries, nodes, slot));
}

void perigee_index_insert(perigee_index *index, const perigee_entry *entries,
                          const perigee_node *nodes, uint32_t slot) {
  uint64_t hash = hash_of(index, entries, nodes, slot);
  uint32_t at = perigee_index_home(index, hash);
  while (index->cells[at] != 0) at = (at + 1) & index->mask;
  index->cells[at] = ((uint32_t)hash & ~index->slot_mask) | (slot + 1);
}

/* Where the cell of a slot is; the slot must be indexed. */
static uint32_t locate(const perigee_index *index, const perigee_entry *entries,
                       const perigee_node *nodes, uint32_t slot) {
  uint32_t at = home_of(index, entries, nodes, slot);
  while (perigee_index_slot(index, index->cells[at]) != slot) at = (at + 1) & index->mask;
  return at;
}

uint32_t perigee_index_probes(const perigee_index *index, const perigee_entry *entries,
                              const perigee_node *nodes, uint32_t slot) {
  uint32_t at = locate(index, entries, nodes, slot);
  return ((at - home_of(index, entries, nodes, slot)) & index->mask) + 1;
}

void perigee_index_remove(perigee_index *index, const perigee_entry *entries,
                          const perigee_node *nodes, uint32_t slot) {
  uint32_t mask = index->mask, hole = locate(index, entries, nodes, slot);
  for (uint32_t at = (hole + 1) & mask; index->cells[at] != 0; at = (at + 1) & mask) {
    uint32_t other = perigee_index_slot(index, index->cells[at]);
    uint32_t home = home_of(index, entries, nodes, other);
    /* A cell may fill the hole unless its home lies after the hole (cyclically). */
    if (((at - home) & mask) < ((at - hole) & mask)) continue;
    index->cells[hole] = index->cells[at];
    hole = at;
  }
  index->cells[hole] = 0;
}
