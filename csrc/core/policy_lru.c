/* SPDX-License-Identifier: MIT
 *
 * Least recently used: a hit moves the entry to the head; the tail goes.
 */
#include "core/policy.h"

static void on_insert(perigee_order *order, uint32_t slot) {
  perigee_order_push(order, 0, slot);
}

static void on_hit(perigee_order *order, uint32_t slot) {
  perigee_order_move(order, 0, slot);
}

static uint32_t victim(perigee_order *order) {
  return order->queues[0].tail;
}

const perigee_policy perigee_policy_lru = {
  .name = "lru",
  .hears_hits = 1,
  .on_insert = on_insert,
  .on_hit = on_hit,
  .on_write = on_hit,
  .on_remove = perigee_order_remove,
  .victim = victim,
};
