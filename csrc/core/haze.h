/* SPDX-License-Identifier: MIT
 *
 * haze.h: remembers the content hashes of keys that were evicted lately, for about as long as so
 * many more take. Private to the core.
 *
 * A table of buckets in place of one queue: each is a queue of eight fingerprints of 16 bits, in
 * one register:
 *
 *   bucket   | newest | . | . | . | . | . | . | oldest |   16 bytes; 0 = empty
 *
 * The buckets together are as long as the capacity, so how long a key is remembered is a matter of
 * chance. That is cheaper than a queue's exactness (ghost.h: two bytes a key here, a shift to add,
 * one compare to look up), and for `auto` it is better: of a loop that is a little too long for
 * a queue, a queue remembers nothing. One look-up in some 8,000 is wrong.
 */
#ifndef PERIGEE_HAZE_H
#define PERIGEE_HAZE_H

#include "base/base.h"

enum { PERIGEE_HAZE_WAYS = 8 };

typedef struct perigee_haze {
  uint16_t (*buckets)[PERIGEE_HAZE_WAYS];
  uint32_t count; /* 0: it remembers nothing */
} perigee_haze;

/* Makes an empty one for `capacity` keys. 0, or -1 (memory is out; `haze` untouched). One that is
 * all zero, as after fini, remembers nothing. */
int perigee_haze_init(perigee_haze *haze, uint32_t capacity);
void perigee_haze_fini(perigee_haze *haze);
size_t perigee_haze_bytes(const perigee_haze *haze);

void perigee_haze_add(perigee_haze *haze, uint32_t content);

/* perigee_haze_take: 1 if `content` was remembered; it is forgotten by that. */
int perigee_haze_take(perigee_haze *haze, uint32_t content);

#endif
