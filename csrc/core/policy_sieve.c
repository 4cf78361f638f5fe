/* SPDX-License-Identifier: MIT
 *
 * SIEVE (Zhang, Yang, Yue, Vigfusson, Rashmi: "SIEVE is Simpler than LRU", NSDI 2024): a FIFO
 * queue in which a hand moves from old to new, spares each visited entry once and takes the
 * first that was not visited.
 *
 *   head (new)  o o o x o x o o  tail (old)          x = visited
 *                       <- hand
 */
#include "core/policy.h"

static void on_insert(perigee_order *order, uint32_t slot) {
  perigee_order_push(order, 0, slot);
}

static void on_remove(perigee_order *order, uint32_t slot) {
  if (order->hand == slot) order->hand = order->nodes[slot].newer;
  perigee_order_remove(order, slot);
}

static uint32_t victim(perigee_order *order) {
  uint32_t slot = order->hand != PERIGEE_NONE ? order->hand : order->queues[0].tail;
  while (slot != PERIGEE_NONE && perigee_order_visits(order, slot) != 0) {
    perigee_order_set_visits(order, slot, 0);
    slot = order->nodes[slot].newer;
    if (slot == PERIGEE_NONE) slot = order->queues[0].tail;
  }
  order->hand = slot;
  return slot;
}

const perigee_policy perigee_policy_sieve = {
  .name = "sieve",
  .max_visits = 1,
  .on_insert = on_insert,
  .on_remove = on_remove,
  .victim = victim,
};
