/* SPDX-License-Identifier: MIT
 *
 * ghost.h: remembers the content hashes of keys that were evicted lately. Private to the core.
 *
 * A set-associative table of 4-byte cells, eight to a bucket, in place of a queue:
 *
 *   cell = | fingerprint : 16 | age stamp : 16 |   0 = empty
 *
 * The stamp counts insertions (in units, so that it covers the whole capacity); a cell older
 * than `window` units is forgotten, and in a full bucket the oldest goes. So it behaves as a FIFO
 * of about `capacity` keys in a third more cells, with one false hit in some 8,000 look-ups.
 */
#ifndef PERIGEE_GHOST_H
#define PERIGEE_GHOST_H

#include "base/base.h"

typedef struct perigee_ghost {
  uint32_t *cells;
  uint32_t buckets;
  uint32_t unit;   /* insertions per tick of the age stamp */
  uint32_t window; /* ticks that a key is remembered */
  uint32_t inserted;
  uint32_t tick;
} perigee_ghost;

/* Makes an empty ghost for `capacity` keys. 0, or -1 (memory is out; `ghost` untouched). */
int perigee_ghost_init(perigee_ghost *ghost, uint32_t capacity);
void perigee_ghost_fini(perigee_ghost *ghost);
size_t perigee_ghost_bytes(const perigee_ghost *ghost);

void perigee_ghost_add(perigee_ghost *ghost, uint32_t content);

/* perigee_ghost_take: 1 if `content` was remembered; it is forgotten by that. */
int perigee_ghost_take(perigee_ghost *ghost, uint32_t content);

#endif
