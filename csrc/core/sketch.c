/* SPDX-License-Identifier: MIT */
#include "core/sketch.h"

enum {
  WORDS = sizeof(perigee_sketch_block) / sizeof(uint64_t),
  ENTRIES_PER_BLOCK = WORDS, /* eight bytes for each */
  ADDITIONS_PER_ENTRY = 10,
  LEAST_ENTRIES = 256, /* a short memory makes small caches forget a loop before it comes round */
  HALVED_AT_ONCE = 8,
  ROWS = 4,
};

_Static_assert(sizeof(perigee_sketch_block) == PERIGEE_LINE, "a key's counters share a line");

int perigee_sketch_init(perigee_sketch *sketch, uint32_t entries) {
  if (entries < LEAST_ENTRIES) entries = LEAST_ENTRIES;
  uint32_t count = entries / ENTRIES_PER_BLOCK + 1;
  void *memory;
  perigee_sketch_block *blocks = perigee_zalloc_lines(count * sizeof *blocks, &memory);
  if (!blocks) return -1;
  *sketch = (perigee_sketch){
    .blocks = blocks,
    .memory = memory,
    .count = count,
    .halved = count,
    .period = (uint64_t)entries * ADDITIONS_PER_ENTRY,
  };
  return 0;
}

void perigee_sketch_fini(perigee_sketch *sketch) {
  perigee_dealloc(sketch->memory);
  sketch->memory = sketch->blocks = NULL;
}

size_t perigee_sketch_bytes(const perigee_sketch *sketch) {
  return sketch->memory ? perigee_line_bytes(sketch->count * sizeof *sketch->blocks) : 0;
}

/* The high bits of the hash choose the block; these 20 bits, the counters: 5 for each row. */
static uint32_t places_of(uint32_t content) {
  return (content * 0x9E3779B1u) >> 12;
}

/* A counter of row i: its word, and how far to shift it down. */
static uint32_t word_of(uint32_t places, int row) {
  return 2 * (uint32_t)row + (places >> 4 & 1);
}

static uint32_t shift_of(uint32_t places) {
  return (places & 15) * 4;
}

static void halve_some(perigee_sketch *sketch) {
  for (int i = 0; i < HALVED_AT_ONCE && sketch->halved < sketch->count; i++) {
    uint64_t *words = sketch->blocks[sketch->halved++].words;
    for (int j = 0; j < WORDS; j++) words[j] = words[j] >> 1 & 0x7777777777777777ull;
  }
}

void perigee_sketch_add(perigee_sketch *sketch, uint32_t content) {
  uint64_t *words = perigee_sketch_block_of(sketch, content)->words, added = 0;
  uint32_t places = places_of(content);
#pragma GCC unroll 4
  for (int row = 0; row < ROWS; row++, places >>= 5) {
    uint64_t *word = &words[word_of(places, row)];
    uint64_t one = 1ull << shift_of(places), full = *word & *word >> 1;
    uint64_t room = ~(full & full >> 2) & one; /* all four bits of a counter that is full are 1 */
    *word += room;
    added |= room;
  }
  if (sketch->halved < sketch->count) halve_some(sketch);
  sketch->additions += added != 0;
  if (sketch->additions < sketch->period) return;
  sketch->additions /= 2;
  sketch->halved = 0;
}

uint32_t perigee_sketch_estimate(const perigee_sketch *sketch, uint32_t content) {
  const uint64_t *words = perigee_sketch_block_of(sketch, content)->words;
  uint32_t places = places_of(content), least = PERIGEE_SKETCH_MOST;
#pragma GCC unroll 4
  for (int row = 0; row < ROWS; row++, places >>= 5) {
    uint32_t uses = words[word_of(places, row)] >> shift_of(places) & 15;
    if (uses < least) least = uses;
  }
  return least;
}
