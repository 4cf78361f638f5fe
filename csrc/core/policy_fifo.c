/* SPDX-License-Identifier: MIT
 *
 * First in, first out: the oldest entry goes.
 */
#include "core/policy.h"

static void on_insert(perigee_order *order, uint32_t slot) {
  perigee_order_push(order, 0, slot);
}

static uint32_t victim(perigee_order *order) {
  return order->queues[0].tail;
}

const perigee_policy perigee_policy_fifo = {
  .name = "fifo",
  .on_insert = on_insert,
  .on_remove = perigee_order_remove,
  .victim = victim,
};
