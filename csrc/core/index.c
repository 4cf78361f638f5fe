/* SPDX-License-Identifier: MIT */
#include "core/index.h"

static uint8_t bits_for(uint32_t values) {
  uint8_t bits = 0;
  while (values >> bits) bits++;
  return bits;
}

int perigee_index_init(perigee_index *index, uint32_t capacity, uint64_t seed) {
  uint8_t log2 = 3;
  while (((uint64_t)3 << log2) / 4 < capacity) log2++;
  uint32_t *cells = perigee_zalloc(sizeof(uint32_t) << log2);
  if (!cells) return -1;
  uint8_t slot_bits = bits_for(capacity);
  *index = (perigee_index){
    .cells = cells,
    .seed = seed,
    .mask = (uint32_t)((1ull << log2) - 1),
    .slot_mask = (uint32_t)((1ull << slot_bits) - 1),
    .slot_bits = slot_bits,
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

static uint32_t home_of(const perigee_index *index, const perigee_entry *entry) {
  return (uint32_t)(perigee_index_hash(index, entry->space, entry->word) >> index->shift);
}

void perigee_index_insert(perigee_index *index, const perigee_entry *entries, uint32_t slot) {
  uint64_t hash = perigee_index_hash(index, entries[slot].space, entries[slot].word);
  uint32_t at = (uint32_t)(hash >> index->shift);
  while (index->cells[at] != 0) at = (at + 1) & index->mask;
  uint32_t tag = (uint32_t)(hash << index->slot_bits);
  index->cells[at] = (tag & ~index->slot_mask) | (slot + 1);
}

static uint32_t position_of(const perigee_index *index, const perigee_entry *entries,
                            uint32_t slot) {
  uint32_t at = home_of(index, &entries[slot]);
  while ((index->cells[at] & index->slot_mask) != slot + 1) at = (at + 1) & index->mask;
  return at;
}

void perigee_index_remove(perigee_index *index, const perigee_entry *entries, uint32_t slot) {
  uint32_t hole = position_of(index, entries, slot);
  for (uint32_t at = hole;;) {
    at = (at + 1) & index->mask;
    uint32_t cell = index->cells[at];
    if (cell == 0) break;
    uint32_t home = home_of(index, &entries[(cell & index->slot_mask) - 1]);
    /* A cell may fill the hole unless its home lies after the hole (cyclically). */
    if (((at - home) & index->mask) < ((at - hole) & index->mask)) continue;
    index->cells[hole] = cell;
    hole = at;
  }
  index->cells[hole] = 0;
}
