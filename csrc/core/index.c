/* SPDX-License-Identifier: MIT */
#include "core/index.h"

enum { FAR_BITS = PERIGEE_IF_HARD(1, 4) };

int perigee_index_init(perigee_index *index, uint32_t capacity, uint64_t seed) {
  uint32_t log2 = 3, slot_bits = 0;
  while (((uint64_t)3 << log2) / 4 < capacity) log2++;
  while ((1ull << slot_bits) <= capacity) slot_bits++;
  uint64_t cells = 1ull << log2;
  uint32_t *block = perigee_zalloc(cells * sizeof *block);
  if (!block) return -1;
  *index = (perigee_index){
    .cells = block,
    .seed = seed,
    .mask = (uint32_t)(cells - 1),
    .tag_mask = (uint32_t) ~((1ull << (slot_bits + FAR_BITS)) - 1),
    .slot_mask = (uint32_t)((1ull << slot_bits) - 1),
    .far_mask = (uint32_t)(((1ull << FAR_BITS) - 1) << slot_bits),
    .far_shift = slot_bits,
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

/* A distance as a cell holds it. */
static uint32_t far_bits(const perigee_index *index, uint32_t distance) {
  uint64_t bits = (uint64_t)distance << index->far_shift;
  return bits < index->far_mask ? (uint32_t)bits : index->far_mask;
}

/* How far the cell at `at` is from its home. */
static uint32_t distance_of(const perigee_index *index, const perigee_entry *entries,
                            const perigee_node *nodes, uint32_t at) {
  uint32_t cell = index->cells[at], bits = cell & index->far_mask;
  if (PERIGEE_LIKELY(bits != index->far_mask))
    return (uint32_t)((uint64_t)bits >> index->far_shift);
  return (at - home_of(index, entries, nodes, perigee_index_slot(index, cell))) & index->mask;
}

void perigee_index_insert(perigee_index *index, const perigee_entry *entries,
                          const perigee_node *nodes, uint32_t slot) {
  uint64_t hash = hash_of(index, entries, nodes, slot);
  uint32_t home = perigee_index_home(index, hash), at = home;
  while (index->cells[at] != 0) at = (at + 1) & index->mask;
  uint32_t tag = (uint32_t)hash & index->tag_mask;
  index->cells[at] = tag | far_bits(index, (at - home) & index->mask) | (slot + 1);
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
    uint32_t distance = distance_of(index, entries, nodes, at), back = (at - hole) & mask;
    if (distance < back) continue; /* its home lies after the hole */
    uint32_t rest = index->cells[at] & ~index->far_mask;
    index->cells[hole] = rest | far_bits(index, distance - back);
    hole = at;
  }
  index->cells[hole] = 0;
}
