/* SPDX-License-Identifier: MIT
 *
 * entry.h: one entry of the store, in two halves, and queues of entries. Private to the core.
 *
 * A hit reads the first half, 16 bytes, and writes its visits at most:
 *
 *   word     8  identity of the key (see perigee_word)
 *   life     8  | deadline, ms : 48 | epoch : 7 | spaced : 1 | level : 3 | tagged : 1 |
 *               | queue : 2 | visits : 2 |
 *
 * The second half, the entry's node, is for writing and evicting:
 *
 *   space    4  whose keys these are: 0 the direct API, each wrapped function has its own
 *   content  4  seeded hash of the key's bytes: what ghosts and sketches remember
 *   newer    4  neighbours in the policy's queue; `newer` also links free slots
 *   older    4
 */
#ifndef PERIGEE_ENTRY_H
#define PERIGEE_ENTRY_H

#include "base/base.h"

#define PERIGEE_NONE UINT32_MAX

typedef struct perigee_entry {
  uint64_t word;
  uint64_t life;
} perigee_entry;

typedef struct perigee_node {
  uint32_t space;
  uint32_t content;
  uint32_t newer;
  uint32_t older;
} perigee_node;

_Static_assert(sizeof(perigee_entry) == 16, "four entries fill a cache line");
_Static_assert(sizeof(perigee_node) == 16, "32 bytes for both halves");

#define PERIGEE_VISITS_MASK 3u
#define PERIGEE_QUEUE_SHIFT 2
#define PERIGEE_QUEUE_MASK (3u << PERIGEE_QUEUE_SHIFT)
#define PERIGEE_TAGGED (1u << 4)
#define PERIGEE_LEVEL_SHIFT 5
#define PERIGEE_LEVEL_MASK (7u << PERIGEE_LEVEL_SHIFT)
#define PERIGEE_SPACED (1u << 8) /* the entry's space is not 0 */
#define PERIGEE_EPOCH_SHIFT 9
#define PERIGEE_EPOCH_MASK (0x7Full << PERIGEE_EPOCH_SHIFT)
#define PERIGEE_DEADLINE_SHIFT 16

/* Where in a whole number its low byte is. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define PERIGEE_LOW_BYTE(type) 0
#else
#define PERIGEE_LOW_BYTE(type) (sizeof(type) - 1)
#endif

/* The largest deadline stands for "never". */
#define PERIGEE_FOREVER ((1ull << 48) - 1)

/* Identity words. A string is its address, whose upper 16 bits are 0; a number is its bits, turned
 * over so that only NaNs (which Lua refuses) have those bits 0. -0 and 0 are one key. The free
 * word belongs to no key: it is such a NaN. */
#define PERIGEE_WORD_NUMBER 0xFFF9000000000000ull
#define PERIGEE_WORD_FREE 0x0000FFFFFFFFFFFFull

static inline uint64_t perigee_word(const char *s, double n) {
  if (s) return (uint64_t)(uintptr_t)s;
  union {
    double number;
    uint64_t bits;
  } word = {.number = n == 0 ? 0 : n};
  return word.bits ^ PERIGEE_WORD_NUMBER;
}

static inline uint64_t perigee_entry_deadline(const perigee_entry *entry) {
  return entry->life >> PERIGEE_DEADLINE_SHIFT;
}

static inline uint32_t perigee_entry_visits(const perigee_entry *entry) {
  return entry->life & PERIGEE_VISITS_MASK;
}

/* The node is read only when the space is not the usual one. */
static inline uint32_t perigee_entry_space(const perigee_entry *entry, const perigee_node *node) {
  return entry->life & PERIGEE_SPACED ? node->space : 0;
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

static inline void perigee_queue_push(perigee_queue *queue, perigee_node *nodes, uint32_t slot) {
  nodes[slot].newer = PERIGEE_NONE;
  nodes[slot].older = queue->head;
  if (queue->head != PERIGEE_NONE)
    nodes[queue->head].newer = slot;
  else
    queue->tail = slot;
  queue->head = slot;
  queue->count++;
}

static inline void perigee_queue_remove(perigee_queue *queue, perigee_node *nodes, uint32_t slot) {
  uint32_t newer = nodes[slot].newer, older = nodes[slot].older;
  if (newer != PERIGEE_NONE)
    nodes[newer].older = older;
  else
    queue->head = older;
  if (older != PERIGEE_NONE)
    nodes[older].newer = newer;
  else
    queue->tail = newer;
  queue->count--;
}

#endif
