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

static void strip(perigee_order *order) {
  perigee_ghost_fini(&order->ghost);
  order->equipped = 0;
}

static void equip(perigee_order *order, uint32_t entries) {
  strip(order);
  if (perigee_ghost_init(&order->ghost, (uint32_t)((uint64_t)entries * 9 / 10))) return;
  order->equipped = entries;
}

static void on_insert(perigee_order *order, uint32_t slot) {
  int seen = perigee_ghost_take(&order->ghost, order->nodes[slot].content);
  perigee_order_push(order, seen ? MAIN : SMALL, slot);
}

/* The oldest of main that was not visited since its last round. */
static uint32_t victim_of_main(perigee_order *order) {
  perigee_queue *main = &order->queues[MAIN];
  for (;;) {
    uint32_t slot = main->tail;
    uint32_t visits = perigee_order_visits(order, slot);
    if (visits == 0) return slot;
    perigee_order_set_visits(order, slot, visits - 1);
    perigee_order_remove(order, slot);
    perigee_order_push(order, MAIN, slot);
  }
}

/* The oldest of small that was not visited enough; the others move to main, while it has room. */
static uint32_t victim_of_small(perigee_order *order, uint32_t main_limit) {
  perigee_queue *small = &order->queues[SMALL];
  while (small->count > 0 && order->queues[MAIN].count <= main_limit) {
    uint32_t slot = small->tail;
    if (perigee_order_visits(order, slot) < PROMOTE_VISITS) {
      perigee_ghost_add(&order->ghost, order->nodes[slot].content);
      return slot;
    }
    perigee_order_set_visits(order, slot, 0);
    perigee_order_move(order, MAIN, slot);
  }
  return PERIGEE_NONE;
}

static uint32_t victim(perigee_order *order) {
  uint32_t slot = victim_of_small(order, order->limit - small_limit(order));
  if (slot != PERIGEE_NONE) return slot;
  return order->queues[MAIN].count ? victim_of_main(order) : PERIGEE_NONE;
}

static const char *verify(const perigee_order *order) {
  return perigee_ghost_verify(&order->ghost);
}

const perigee_policy perigee_policy_s3fifo = {
  .name = "s3fifo",
  .max_visits = 3,
  .remembers = 1,
  .equip = equip,
  .strip = strip,
  .on_insert = on_insert,
  .on_remove = perigee_order_remove,
  .victim = victim,
  .verify = verify,
};
