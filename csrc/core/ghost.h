/* SPDX-License-Identifier: MIT
 *
 * ghost.h: remembers the content hashes of keys that were evicted lately. Private to the core.
 *
 * A table of buckets in place of one queue: each is a queue of eight fingerprints of 16 bits, in
 * one register:
 *
 *   bucket   | newest | . | . | . | . | . | . | oldest |   16 bytes; 0 = empty
 *
 * The buckets together are as long as the capacity, so a key is remembered for about as many
 * insertions, more or less by chance. It costs two bytes a key, a shift to add and one compare
 * to look up; one look-up in some 8,000 is wrong.
 */
#ifndef PERIGEE_GHOST_H
#define PERIGEE_GHOST_H

#include "base/base.h"

enum { PERIGEE_GHOST_WAYS = 8 };

typedef struct perigee_ghost {
  uint16_t (*buckets)[PERIGEE_GHOST_WAYS];
  uint32_t count;
} perigee_ghost;

/* Makes an empty ghost for `capacity` keys. 0, or -1 (memory is out; `ghost` untouched). */
int perigee_ghost_init(perigee_ghost *ghost, uint32_t capacity);
void perigee_ghost_fini(perigee_ghost *ghost);
size_t perigee_ghost_bytes(const perigee_ghost *ghost);

void perigee_ghost_add(perigee_ghost *ghost, uint32_t content);

/* perigee_ghost_take: 1 if `content` was remembered; it is forgotten by that. */
int perigee_ghost_take(perigee_ghost *ghost, uint32_t content);

#endif
