/* SPDX-License-Identifier: MIT */
#include "core/segments.h"

enum { WINDOW = 0, PROBATION = 1, PROTECTED = 2 };

enum {
  MOVED_AT_ONCE = 16, /* from the window to main, when the window is too long */
  PROMOTE_VISITS = 2,
};

static uint32_t window_limit(const perigee_order *order) {
  uint32_t limit = (uint32_t)((uint64_t)order->limit * order->setting.window / 1000);
  return limit ? limit : 1;
}

static uint32_t count_main(const perigee_order *order) {
  return order->queues[PROBATION].count + order->queues[PROTECTED].count;
}

/* While main has room, what is too much for the window needs no admission. */
static void drain_window(perigee_order *order) {
  perigee_queue *window = &order->queues[WINDOW];
  uint32_t limit = window_limit(order);
  for (int i = 0; i < MOVED_AT_ONCE; i++) {
    if (window->count <= limit || count_main(order) >= order->limit - limit) return;
    perigee_order_move(order, PROBATION, window->tail);
  }
}

void perigee_segments_insert(perigee_order *order, uint32_t slot) {
  int known = order->setting.rule == PERIGEE_RULE_GHOST &&
              perigee_haze_take(&order->haze, order->nodes[slot].content);
  perigee_order_push(order, known ? PROBATION : WINDOW, slot);
  if (order->setting.rule == PERIGEE_RULE_CONTEST) drain_window(order);
}

void perigee_segments_touch(perigee_order *order, uint32_t slot) {
  if (order->setting.rule == PERIGEE_RULE_GHOST) return;
  int to_window =
    order->setting.rule == PERIGEE_RULE_RECENCY || perigee_order_queue(order, slot) == WINDOW;
  perigee_order_move(order, to_window ? WINDOW : PROTECTED, slot);
}

/* What is too much for the protected part is not, from its oldest on. */
static void drain_protected(perigee_order *order) {
  uint64_t limit = (uint64_t)(order->limit - window_limit(order)) * 4 / 5;
  while (order->queues[PROTECTED].count > limit)
    perigee_order_move(order, PROBATION, order->queues[PROTECTED].tail);
}

static uint32_t remembered(perigee_order *order, uint32_t slot) {
  perigee_haze_add(&order->haze, order->nodes[slot].content);
  return slot;
}

/* The oldest of main under each rule. */

static uint32_t oldest_of_main(const perigee_order *order) {
  uint32_t slot = order->queues[PROBATION].tail;
  return slot != PERIGEE_NONE ? slot : order->queues[PROTECTED].tail;
}

/* One that was not visited since its last round. What another rule had protected comes first. */
static uint32_t unvisited_of_main(perigee_order *order) {
  for (;;) {
    uint32_t slot = oldest_of_main(order);
    if (slot == PERIGEE_NONE) return slot;
    uint32_t visits = perigee_order_visits(order, slot);
    if (visits == 0) return slot;
    perigee_order_set_visits(order, slot, visits - 1);
    perigee_order_remove(order, slot);
    perigee_order_push(order, perigee_order_queue(order, slot), slot);
  }
}

static uint32_t victim_by_contest(perigee_order *order) {
  drain_window(order);
  drain_protected(order);
  uint32_t newcomer = order->queues[WINDOW].tail, oldest = oldest_of_main(order);
  if (order->queues[WINDOW].count < window_limit(order) && oldest != PERIGEE_NONE)
    newcomer = PERIGEE_NONE;
  if (newcomer == PERIGEE_NONE || oldest == PERIGEE_NONE)
    return newcomer == PERIGEE_NONE ? oldest : newcomer;
  uint32_t uses = perigee_sketch_estimate(order->sketch, order->nodes[newcomer].content);
  uint32_t old_uses = perigee_sketch_estimate(order->sketch, order->nodes[oldest].content);
  if (uses <= old_uses + order->setting.margin) return newcomer;
  perigee_order_set_visits(order, newcomer, 0);
  perigee_order_move(order, PROBATION, newcomer);
  return oldest;
}

/* The oldest of the window that was not visited enough; the others pass to main. */
static uint32_t unvisited_of_window(perigee_order *order) {
  perigee_queue *window = &order->queues[WINDOW];
  while (window->count > 0) {
    uint32_t slot = window->tail;
    if (perigee_order_visits(order, slot) < PROMOTE_VISITS) return slot;
    perigee_order_set_visits(order, slot, 0);
    perigee_order_move(order, PROBATION, slot);
  }
  return PERIGEE_NONE;
}

static uint32_t victim_by_ghost(perigee_order *order) {
  if (order->queues[WINDOW].count > window_limit(order) || count_main(order) == 0) {
    uint32_t slot = unvisited_of_window(order);
    if (slot != PERIGEE_NONE) return remembered(order, slot);
  }
  uint32_t slot = unvisited_of_main(order);
  return slot != PERIGEE_NONE ? slot : order->queues[WINDOW].tail;
}

uint32_t perigee_segments_victim(perigee_order *order) {
  uint32_t slot;
  if (order->setting.rule == PERIGEE_RULE_GHOST) return victim_by_ghost(order);
  if (order->setting.rule == PERIGEE_RULE_CONTEST) {
    slot = victim_by_contest(order);
  } else {
    slot = oldest_of_main(order);
    if (slot == PERIGEE_NONE) slot = order->queues[WINDOW].tail;
  }
  return slot != PERIGEE_NONE ? remembered(order, slot) : slot;
}
