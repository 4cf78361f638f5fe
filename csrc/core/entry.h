/* SPDX-License-Identifier: MIT
 *
 * entry.h: one entry of the store, and queues of entries. Private to the core.
 *
 *   word     8  identity of the key (NaN-boxed: see perigee_word)
 *   life     8  | deadline, ms : 48 | epoch : 8 | level : 3 | tagged : 1 | queue : 2 | visits : 2 |
 *   space    4
 *   content  4  seeded hash of the key's bytes: what ghosts and sketches remember
 *   newer    4  neighbours in the policy's queue; `newer` also links free slots
 *   older    4
 *
 * A hit reads word, space and life and writes at most life: one cache line.
 */
#ifndef PERIGEE_ENTRY_H
#define PERIGEE_ENTRY_H

#include "base/base.h"

#define PERIGEE_NONE UINT32_MAX

typedef struct perigee_entry {
  uint64_t word;
  uint64_t life;
  uint32_t space;
  uint32_t content;
  uint32_t newer;
  uint32_t older;
} perigee_entry;

_Static_assert(sizeof(perigee_entry) == 32, "two entries fill a cache line");

#define PERIGEE_VISITS_MASK 3u
#define PERIGEE_QUEUE_SHIFT 2
#define PERIGEE_QUEUE_MASK (3u << PERIGEE_QUEUE_SHIFT)
#define PERIGEE_TAGGED (1u << 4)
#define PERIGEE_LEVEL_SHIFT 5
#define PERIGEE_LEVEL_MASK (7u << PERIGEE_LEVEL_SHIFT)
#define PERIGEE_EPOCH_SHIFT 8
#define PERIGEE_EPOCH_MASK (0xFFull << PERIGEE_EPOCH_SHIFT)
#define PERIGEE_DEADLINE_SHIFT 16

/* The largest deadline stands for "never". */
#define PERIGEE_FOREVER ((1ull << 48) - 1)

/* Identity words. Strings live in negative quiet-NaN space, where no other number is; the free
 * word is a NaN as well and belongs to no key. -0 and 0 are one key; NaN is refused in Lua. */
#define PERIGEE_WORD_STRING 0xFFFA000000000000ull
#define PERIGEE_WORD_FREE UINT64_MAX

static inline uint64_t perigee_word(const char *s, double n) {
  if (s) return PERIGEE_WORD_STRING | (uint64_t)(uintptr_t)s;
  union {
    double number;
    uint64_t bits;
  } word = {.number = n == 0 ? 0 : n};
  return word.bits;
}

static inline uint64_t perigee_entry_deadline(const perigee_entry *entry) {
  return entry->life >> PERIGEE_DEADLINE_SHIFT;
}

static inline uint32_t perigee_entry_visits(const perigee_entry *entry) {
  return entry->life & PERIGEE_VISITS_MASK;
}

static inline uint32_t perigee_entry_queue(const perigee_entry *entry) {
  return (entry->life & PERIGEE_QUEUE_MASK) >> PERIGEE_QUEUE_SHIFT;
}

/* Replaces the bits of `mask` in an entry's life. */
static inline void perigee_entry_mark(perigee_entry *entry, uint64_t mask, uint64_t bits) {
  entry->life = (entry->life & ~mask) | bits;
}

/* A queue of slots, newest at `head`; linked through newer and older. */
typedef struct perigee_queue {
  uint32_t head;
  uint32_t tail;
  uint32_t count;
} perigee_queue;

static inline void perigee_queue_init(perigee_queue *queue) {
  *queue = (perigee_queue){PERIGEE_NONE, PERIGEE_NONE, 0};
}

static inline void perigee_queue_push(perigee_queue *queue, perigee_entry *entries, uint32_t slot) {
  entries[slot].newer = PERIGEE_NONE;
  entries[slot].older = queue->head;
  if (queue->head != PERIGEE_NONE)
    entries[queue->head].newer = slot;
  else
    queue->tail = slot;
  queue->head = slot;
  queue->count++;
}

static inline void perigee_queue_remove(perigee_queue *queue, perigee_entry *entries,
                                        uint32_t slot) {
  uint32_t newer = entries[slot].newer, older = entries[slot].older;
  if (newer != PERIGEE_NONE)
    entries[newer].older = older;
  else
    queue->head = older;
  if (older != PERIGEE_NONE)
    entries[older].newer = newer;
  else
    queue->tail = newer;
  queue->count--;
}

#endif
