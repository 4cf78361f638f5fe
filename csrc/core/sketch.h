/* SPDX-License-Identifier: MIT
 *
 * sketch.h: about how often each key was used lately. Private to the core.
 *
 * A count-min sketch (Cormode, Muthukrishnan, J. Algorithms 2005) of 4-bit counters that are all
 * halved now and then (Einziger, Friedman, Manes: "TinyLFU", ACM ToS 2017). A key has four
 * counters, in one cache line:
 *
 *   block   | row 0: 32 counters | row 1: 32 | row 2: 32 | row 3: 32 |    64 bytes
 *
 * Eight bytes per entry. Halving begins after ten additions per entry and is done a few blocks
 * per addition, so that no call is long.
 */
#ifndef PERIGEE_SKETCH_H
#define PERIGEE_SKETCH_H

#include "base/base.h"
#include "base/hash.h"

enum { PERIGEE_SKETCH_MOST = 15 };

typedef struct perigee_sketch_block {
  uint64_t words[8];
} perigee_sketch_block;

typedef struct perigee_sketch {
  perigee_sketch_block *blocks; /* aligned, in `memory` */
  void *memory;
  uint32_t count;  /* blocks */
  uint32_t halved; /* blocks that are halved already; all: no halving is going on */
  uint64_t additions;
  uint64_t period; /* additions after which the counters are halved */
} perigee_sketch;

/* perigee_sketch_init: for a cache of so many entries. 0, or -1: memory is out. */
int perigee_sketch_init(perigee_sketch *sketch, uint32_t entries);
void perigee_sketch_fini(perigee_sketch *sketch);
size_t perigee_sketch_bytes(const perigee_sketch *sketch);

/* perigee_sketch_add: the key with this hash was used. */
void perigee_sketch_add(perigee_sketch *sketch, uint32_t content);

/* perigee_sketch_estimate: how often it was used lately, 0 to PERIGEE_SKETCH_MOST; too high by
 * chance, never too low. */
uint32_t perigee_sketch_estimate(const perigee_sketch *sketch, uint32_t content);

static inline perigee_sketch_block *perigee_sketch_block_of(const perigee_sketch *sketch,
                                                            uint32_t content) {
  return &sketch->blocks[perigee_hash_range(content, sketch->count)];
}

/* perigee_sketch_prefetch: its counters are needed soon. */
static inline void perigee_sketch_prefetch(const perigee_sketch *sketch, uint32_t content) {
  __builtin_prefetch(perigee_sketch_block_of(sketch, content), 1);
}

#endif
