/* SPDX-License-Identifier: MIT
 *
 * novelty.h: the last 1024 things that were seen, by 32 bits each; the oldest is forgotten first.
 * Inline, internal. Two things that share their 32 bits are taken for one: once in four million
 * looks at a full set.
 */
#ifndef PERIGEE_NOVELTY_H
#define PERIGEE_NOVELTY_H

#include "base/base.h"

#include <string.h>

enum { PERIGEE_NOVELTY_MAX = 1024, PERIGEE_NOVELTY_FIRST = 32 };

typedef struct perigee_novelty {
  uint32_t *marks;   /* a ring: the oldest stands at `at` when it is full */
  uint16_t *next;    /* of each mark, in the chain of its bucket: number + 1, or 0 */
  uint16_t *buckets; /* as many as there is capacity */
  uint32_t capacity, count, at;
} perigee_novelty;

static inline void perigee_novelty_fini(perigee_novelty *seen) {
  perigee_dealloc(seen->marks);
}

static inline size_t perigee_novelty_bytes(const perigee_novelty *seen) {
  return seen->capacity * (sizeof *seen->marks + sizeof *seen->next + sizeof *seen->buckets);
}

static inline uint16_t *perigee_novelty_bucket(const perigee_novelty *seen, uint32_t mark) {
  return &seen->buckets[mark & (seen->capacity - 1)];
}

static inline void perigee_novelty_chain(perigee_novelty *seen, uint32_t i) {
  uint16_t *bucket = perigee_novelty_bucket(seen, seen->marks[i]);
  seen->next[i] = *bucket;
  *bucket = (uint16_t)(i + 1);
}

/* All three arrays are one block; the marks are never at `at` > 0 before it is full. */
static inline int perigee_novelty_grow(perigee_novelty *seen) {
  uint32_t capacity = seen->capacity ? seen->capacity * 2 : PERIGEE_NOVELTY_FIRST;
  if (seen->capacity == PERIGEE_NOVELTY_MAX) return -1;
  uint32_t *marks = perigee_zalloc(capacity * (sizeof *marks + 2 * sizeof(uint16_t)));
  if (!marks) return -1;
  if (seen->count) memcpy(marks, seen->marks, seen->count * sizeof *marks);
  perigee_dealloc(seen->marks);
  seen->marks = marks;
  seen->next = (uint16_t *)(marks + capacity);
  seen->buckets = seen->next + capacity;
  seen->capacity = capacity;
  for (uint32_t i = 0; i < seen->count; i++) perigee_novelty_chain(seen, i);
  return 0;
}

static inline int perigee_novelty_has(const perigee_novelty *seen, uint32_t mark) {
  if (seen->capacity == 0) return 0;
  for (uint32_t i = *perigee_novelty_bucket(seen, mark); i; i = seen->next[i - 1])
    if (seen->marks[i - 1] == mark) return 1;
  return 0;
}

static inline void perigee_novelty_forget(perigee_novelty *seen, uint32_t i) {
  uint16_t *link = perigee_novelty_bucket(seen, seen->marks[i]);
  while (*link != i + 1) link = &seen->next[*link - 1];
  *link = seen->next[i];
}

/* Returns 1 if it was not there, and is from now on. Without memory nothing is remembered. */
static inline int perigee_novelty_add(perigee_novelty *seen, uint32_t mark) {
  if (perigee_novelty_has(seen, mark)) return 0;
  if (seen->count == seen->capacity && seen->at == 0) (void)perigee_novelty_grow(seen);
  if (seen->capacity == 0) return 1;
  uint32_t i = seen->count;
  if (seen->count < seen->capacity) {
    seen->count++;
  } else {
    i = seen->at;
    perigee_novelty_forget(seen, i);
    seen->at = (i + 1) % seen->capacity;
  }
  seen->marks[i] = mark;
  perigee_novelty_chain(seen, i);
  return 1;
}

#endif
