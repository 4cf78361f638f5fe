/* SPDX-License-Identifier: MIT
 *
 * S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction",
 * SOSP 2023): a small queue filters one-hit wonders, a main queue gives visited entries further
 * rounds, and a ghost remembers what the small queue let go.
 *
 *            miss, not in ghost                visited twice or more
 *   ────────────────────────────► small (10 %) ────────────────────► main (90 %) ─┐
 *            miss, in ghost             │ else: evicted, to the ghost    ▲  visited │
 *   ────────────────────────────────────┼───────────────────────────────┘◄─────────┘
 */
#include "core/policy.h"

enum { SMALL = 0, MAIN = 1, PROMOTE_VISITS = 2 };

static uint32_t small_limit(const perigee_order *order) {
  return order->limit / 10 ? order->limit / 10 : 1;
}

static void enqueue(perigee_order *order, uint32_t queue, uint32_t slot) {
  perigee_entry_mark(&order->entries[slot], PERIGEE_QUEUE_MASK, queue << PERIGEE_QUEUE_SHIFT);
  perigee_queue_push(&order->queues[queue], order->nodes, slot);
}

static void on_insert(perigee_order *order, uint32_t slot) {
  int seen = perigee_ghost_take(&order->ghost, order->nodes[slot].content);
  enqueue(order, seen ? MAIN : SMALL, slot);
}

static void on_remove(perigee_order *order, uint32_t slot) {
  uint32_t queue = perigee_entry_queue(&order->entries[slot]);
  perigee_queue_remove(&order->queues[queue], order->nodes, slot);
}

/* The oldest of main that was not visited since its last round. */
static uint32_t victim_of_main(perigee_order *order) {
  perigee_queue *main = &order->queues[MAIN];
  for (;;) {
    uint32_t slot = main->tail;
    uint32_t visits = perigee_entry_visits(&order->entries[slot]);
    if (visits == 0) return slot;
    perigee_entry_mark(&order->entries[slot], PERIGEE_VISITS_MASK, visits - 1);
    perigee_queue_remove(main, order->nodes, slot);
    perigee_queue_push(main, order->nodes, slot);
  }
}

/* The oldest of small that was not visited enough; the others move to main. */
static uint32_t victim_of_small(perigee_order *order) {
  perigee_queue *small = &order->queues[SMALL];
  while (small->count > 0) {
    uint32_t slot = small->tail;
    if (perigee_entry_visits(&order->entries[slot]) < PROMOTE_VISITS) {
      perigee_ghost_add(&order->ghost, order->nodes[slot].content);
      return slot;
    }
    perigee_queue_remove(small, order->nodes, slot);
    perigee_entry_mark(&order->entries[slot], PERIGEE_VISITS_MASK, 0);
    enqueue(order, MAIN, slot);
  }
  return PERIGEE_NONE;
}

static uint32_t victim(perigee_order *order) {
  uint32_t main_limit = order->limit - small_limit(order);
  if (order->queues[MAIN].count <= main_limit) {
    uint32_t slot = victim_of_small(order);
    if (slot != PERIGEE_NONE) return slot;
  }
  return order->queues[MAIN].count ? victim_of_main(order) : PERIGEE_NONE;
}

const perigee_policy perigee_policy_s3fifo = {
  .name = "s3fifo",
  .max_visits = 3,
  .has_ghost = 1,
  .on_insert = on_insert,
  .on_remove = on_remove,
  .victim = victim,
};
