/* SPDX-License-Identifier: MIT
 *
 * Least recently used: a hit moves the entry to the head; the tail goes.
 */
#include "core/policy.h"

static void on_insert(perigee_order *order, uint32_t slot) {
  perigee_queue_push(&order->queues[0], order->nodes, slot);
}

static void on_hit(perigee_order *order, uint32_t slot) {
  if (order->queues[0].head == slot) return;
  perigee_queue_remove(&order->queues[0], order->nodes, slot);
  perigee_queue_push(&order->queues[0], order->nodes, slot);
}

static void on_remove(perigee_order *order, uint32_t slot) {
  perigee_queue_remove(&order->queues[0], order->nodes, slot);
}

static uint32_t victim(perigee_order *order) {
  return order->queues[0].tail;
}

const perigee_policy perigee_policy_lru = {
  .name = "lru",
  .on_insert = on_insert,
  .on_hit = on_hit,
  .on_remove = on_remove,
  .victim = victim,
};
