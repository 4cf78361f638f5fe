/* SPDX-License-Identifier: MIT
 *
 * ghost.h: remembers the content hashes of keys that were evicted lately: a queue that is asked
 * by key. Private to the core.
 *
 * The queue itself is not kept, only how many of each of its places are still in it; a key's
 * fingerprint, and its place, stand in a bucket, chosen by hash, of one cache line:
 *
 *   adds     | 1 | 0 | 1 | 1 | . . .        a ring; taken keys are gone from it
 *              ^ tail           ^ head
 *   bucket   | place : 16, fingerprint : 16 | x 16      fingerprint 0 = empty
 *
 * A key is in the queue if its place is not before the tail. A new one takes a cell of its bucket
 * that has left the queue: buckets are half full, and one in some 1,000 finds none and drives out
 * another. For long queues a place stands for several keys that followed each other. Ten to twelve
 * bytes a key; one look-up in some 8,000 is wrong.
 */
#ifndef PERIGEE_GHOST_H
#define PERIGEE_GHOST_H

#include "base/base.h"

enum { PERIGEE_GHOST_WAYS = 16 };

typedef struct perigee_ghost_bucket {
  uint32_t cells[PERIGEE_GHOST_WAYS];
} perigee_ghost_bucket;

typedef struct perigee_ghost {
  perigee_ghost_bucket *buckets; /* aligned, in `memory` */
  void *memory;
  uint8_t *adds;     /* how many keys of each place are remembered */
  uint32_t count;    /* buckets; 0: it remembers nothing */
  uint32_t mask;     /* places - 1; a power of two up to 65,536 */
  uint32_t shift;    /* log2 of keys per place */
  uint32_t capacity; /* keys */
  uint32_t keys;     /* remembered */
  uint32_t added;    /* ever */
  uint32_t tail;     /* the oldest place in the queue */
} perigee_ghost;

/* Makes an empty ghost for `capacity` keys. 0, or -1 (memory is out; `ghost` untouched). One that
 * is all zero, as after fini, remembers nothing. */
int perigee_ghost_init(perigee_ghost *ghost, uint32_t capacity);
void perigee_ghost_fini(perigee_ghost *ghost);
size_t perigee_ghost_bytes(const perigee_ghost *ghost);

void perigee_ghost_add(perigee_ghost *ghost, uint32_t content);

const char *perigee_ghost_verify(const perigee_ghost *ghost);

/* perigee_ghost_take: 1 if `content` was remembered; it is forgotten by that. */
int perigee_ghost_take(perigee_ghost *ghost, uint32_t content);

#endif
