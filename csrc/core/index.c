/* SPDX-License-Identifier: MIT */
#include "core/index.h"

enum { GROUP_BYTES = PERIGEE_GROUP * sizeof(uint32_t) };

static uint8_t bits_for(uint32_t values) {
  uint8_t bits = 0;
  while (values >> bits) bits++;
  return bits;
}

int perigee_index_init(perigee_index *index, uint32_t capacity, uint64_t seed) {
  uint8_t log2 = 0;
  while (((uint64_t)PERIGEE_GROUP * 3 << log2) / 4 < capacity) log2++;
  void *block = perigee_zalloc(((size_t)GROUP_BYTES << log2) + GROUP_BYTES);
  if (!block) return -1;
  uint8_t slot_bits = bits_for(capacity);
  *index = (perigee_index){
    .cells = (uint32_t *)(((uintptr_t)block + GROUP_BYTES - 1) & ~(uintptr_t)(GROUP_BYTES - 1)),
    .block = block,
    .seed = seed,
    .mask = (uint32_t)((1ull << log2) - 1),
    .slot_mask = (uint32_t)((1ull << slot_bits) - 1),
  };
  return 0;
}

void perigee_index_fini(perigee_index *index) {
  perigee_dealloc(index->block);
  index->block = NULL;
  index->cells = NULL;
}

uint32_t perigee_index_capacity(const perigee_index *index) {
  uint64_t by_load = ((uint64_t)index->mask + 1) * PERIGEE_GROUP * 3 / 4;
  return by_load < index->slot_mask ? (uint32_t)by_load : index->slot_mask;
}

size_t perigee_index_bytes(const perigee_index *index) {
  return ((size_t)index->mask + 2) * GROUP_BYTES;
}

static uint64_t hash_of(const perigee_index *index, const perigee_entry *entry) {
  return perigee_index_hash(index, entry->space, entry->word);
}

static uint32_t *cells_of(const perigee_index *index, uint32_t group) {
  return index->cells + (size_t)group * PERIGEE_GROUP;
}

/* A bit for each empty cell. */
static uint32_t empty_cells(const perigee_index *index, uint32_t group) {
  return perigee_group_match(cells_of(index, group), UINT32_MAX, 0);
}

void perigee_index_insert(perigee_index *index, const perigee_entry *entries, uint32_t slot) {
  uint64_t hash = hash_of(index, &entries[slot]);
  uint32_t group = perigee_index_group(index, hash), empty;
  while (!(empty = empty_cells(index, group))) group = (group + 1) & index->mask;
  cells_of(index, group)[__builtin_ctz(empty)] = perigee_index_tag(index, hash) | (slot + 1);
}

/* The bit of a slot's cell in its group, which is set; the slot must be indexed. */
static uint32_t locate(const perigee_index *index, const perigee_entry *entries, uint32_t slot,
                       uint32_t *group) {
  uint32_t match;
  *group = perigee_index_group(index, hash_of(index, &entries[slot]));
  while (!(match = perigee_group_match(cells_of(index, *group), index->slot_mask, slot + 1)))
    *group = (*group + 1) & index->mask;
  return match;
}

uint32_t perigee_index_probes(const perigee_index *index, const perigee_entry *entries,
                              uint32_t slot) {
  uint32_t group;
  locate(index, entries, slot, &group);
  return ((group - perigee_index_group(index, hash_of(index, &entries[slot]))) & index->mask) + 1;
}

/* A cell of `group` whose key would rather be in group `hole`, or NULL. */
static uint32_t *displaced_cell(const perigee_index *index, const perigee_entry *entries,
                                uint32_t group, uint32_t hole) {
  uint32_t *cells = cells_of(index, group);
  for (uint32_t i = 0; i < PERIGEE_GROUP; i++) {
    if (cells[i] == 0) continue;
    const perigee_entry *entry = &entries[(cells[i] & index->slot_mask) - 1];
    uint32_t home = perigee_index_group(index, hash_of(index, entry));
    if (((group - home) & index->mask) >= ((group - hole) & index->mask)) return &cells[i];
  }
  return NULL;
}

void perigee_index_remove(perigee_index *index, const perigee_entry *entries, uint32_t slot) {
  uint32_t hole;
  uint32_t match = locate(index, entries, slot, &hole);
  int overflowed = !empty_cells(index, hole);
  uint32_t *cell = &cells_of(index, hole)[__builtin_ctz(match)];
  *cell = 0;
  /* A group that was full may have sent keys on: the first one found comes back, and leaves a
   * hole in turn. */
  for (uint32_t group = (hole + 1) & index->mask; overflowed && group != hole;
       group = (group + 1) & index->mask) {
    uint32_t *displaced = displaced_cell(index, entries, group, hole);
    overflowed = !empty_cells(index, group);
    if (!displaced) continue;
    *cell = *displaced;
    *displaced = 0;
    cell = displaced;
    hole = group;
  }
}
