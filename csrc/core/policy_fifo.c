/* SPDX-License-Identifier: MIT
 *
 * First in, first out: the oldest entry goes.
 */
#include "core/policy.h"

static void on_insert(perigee_order *order, uint32_t slot) {
  perigee_queue_push(&order->queues[0], order->nodes, slot);
}

static void on_remove(perigee_order *order, uint32_t slot) {
  perigee_queue_remove(&order->queues[0], order->nodes, slot);
}

static uint32_t victim(perigee_order *order) {
  return order->queues[0].tail;
}

const perigee_policy perigee_policy_fifo = {
  .name = "fifo",
  .on_insert = on_insert,
  .on_remove = on_remove,
  .victim = victim,
};
