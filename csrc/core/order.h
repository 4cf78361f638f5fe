/* SPDX-License-Identifier: MIT
 *
 * order.h: the order in which a policy gives entries up: queues of slots, and what is known of
 * each. Private to the core.
 *
 * A store has one order, over its entries; a shadow cache (shadows.h) has one over mere hashes.
 * So that one policy serves both, visits and queue are read through `marks`: one byte per slot,
 * `mark_stride` bytes apart, whose low half is
 *
 *   | queue : 2 | visits : 2 |
 */
#ifndef PERIGEE_ORDER_H
#define PERIGEE_ORDER_H

#include "core/entry.h"
#include "core/ghost.h"
#include "core/haze.h"
#include "core/sketch.h"

enum { PERIGEE_ORDER_QUEUES = 3 };

_Static_assert(PERIGEE_ORDER_QUEUES == PERIGEE_QUEUE_MASK >> PERIGEE_QUEUE_SHIFT,
               "one number is left for slots that are in no queue");

/* How the three queues of segments.h are used; the two dials of the policy `auto`. */
typedef struct perigee_setting {
  uint8_t rule;    /* PERIGEE_RULE_… */
  uint8_t margin;  /* RULE_CONTEST: by how much more often a newcomer must have been used */
  uint16_t window; /* thousandths of the entries */
} perigee_setting;

typedef struct perigee_order {
  uint32_t heed_below; /* the policy hears of hits on entries of fewer visits than this */
  uint32_t limit;      /* entries that there may be now (the live count when unbounded) */
  unsigned char *marks;
  size_t mark_stride;
  perigee_node *nodes; /* borrowed, as are the marks */
  perigee_queue queues[PERIGEE_ORDER_QUEUES];
  uint32_t hand;       /* SIEVE: where to look next */
  uint32_t equipped;   /* entries that the memory below was taken for; 0: there is none */
  perigee_ghost ghost; /* S3-FIFO */
  /* Of the policies over segments: */
  perigee_setting setting;
  perigee_haze haze;
  const perigee_sketch *sketch;      /* how often keys were used lately; or NULL */
  struct perigee_adaptive *adaptive; /* or NULL */
} perigee_order;

/* perigee_adaptive_bytes: what those policies have taken. */
size_t perigee_adaptive_bytes(const struct perigee_adaptive *adaptive);

static inline void perigee_order_init(perigee_order *order) {
  for (int i = 0; i < PERIGEE_ORDER_QUEUES; i++) perigee_queue_init(&order->queues[i]);
  order->hand = PERIGEE_NONE;
}

static inline unsigned char *perigee_order_mark(const perigee_order *order, uint32_t slot) {
  return &order->marks[slot * order->mark_stride];
}

static inline uint32_t perigee_order_visits(const perigee_order *order, uint32_t slot) {
  return *perigee_order_mark(order, slot) & PERIGEE_VISITS_MASK;
}

static inline void perigee_order_set_visits(perigee_order *order, uint32_t slot, uint32_t visits) {
  unsigned char *mark = perigee_order_mark(order, slot);
  *mark = (unsigned char)((*mark & ~PERIGEE_VISITS_MASK) | visits);
}

static inline uint32_t perigee_order_queue(const perigee_order *order, uint32_t slot) {
  return (*perigee_order_mark(order, slot) & PERIGEE_QUEUE_MASK) >> PERIGEE_QUEUE_SHIFT;
}

/* The slot, which is in no queue, becomes the newest of one. */
static inline void perigee_order_push(perigee_order *order, uint32_t queue, uint32_t slot) {
  unsigned char *mark = perigee_order_mark(order, slot);
  *mark = (unsigned char)((*mark & ~PERIGEE_QUEUE_MASK) | queue << PERIGEE_QUEUE_SHIFT);
  perigee_queue_push(&order->queues[queue], order->nodes, slot);
}

static inline void perigee_order_remove(perigee_order *order, uint32_t slot) {
  perigee_queue *queue = &order->queues[perigee_order_queue(order, slot)];
  perigee_queue_remove(queue, order->nodes, slot);
}

/* The slot is in no queue any more, and says so: its queue is number PERIGEE_ORDER_QUEUES. */
static inline void perigee_order_take_out(perigee_order *order, uint32_t slot) {
  perigee_order_remove(order, slot);
  *perigee_order_mark(order, slot) |= PERIGEE_QUEUE_MASK;
}

/* The slot becomes the newest of a queue, whichever it was in. */
static inline void perigee_order_move(perigee_order *order, uint32_t queue, uint32_t slot) {
  if (order->queues[queue].head == slot) return;
  perigee_order_remove(order, slot);
  perigee_order_push(order, queue, slot);
}

#endif
