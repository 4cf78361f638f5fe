/* SPDX-License-Identifier: MIT
 *
 * The policies over the segments of segments.h: `wtinylfu`, whose setting is fixed, and `auto`,
 * whose setting the shadows choose.
 *
 * Until the first eviction nothing but visits is counted; then memory is taken for a ghost, a
 * sketch and shadows. From then on hits are heard: they are put into a ring, and together brought
 * into the order, so that what they touch is fetched from memory side by side:
 *
 *   hit, insert ──► ring ──► 64 at once ──► sketch, shadows; hits also move in their queue
 *
 * A small cache does that before each removal, since 64 hits mean much to it. To a large one the
 * order is good enough without the last of them: a hit is lost if its entry goes meanwhile, and
 * counts for another key if that has taken the slot.
 *
 * When nothing has been evicted for as many hits as there are entries, hits are heard no more
 * until something is.
 */
#include "core/policy.h"
#include "core/segments.h"
#include "core/shadows.h"

enum { RING = 64, LARGE = PERIGEE_IF_HARD(8, 4096) };

/* A use in the ring: the slot of a hit; or, with this bit, the hash of what was inserted. */
#define INSERTED (1ull << 32)

typedef struct perigee_adaptive {
  perigee_sketch sketch;
  perigee_shadows shadows; /* without memory: the setting is fixed */
  uint32_t pending;        /* uses in the ring */
  uint32_t idle;           /* hits since the last eviction */
  uint64_t ring[RING];     /* in the order that they came */
} perigee_adaptive;

static void strip(perigee_order *order) {
  perigee_adaptive *adaptive = order->adaptive;
  if (!adaptive) return;
  perigee_sketch_fini(&adaptive->sketch);
  perigee_shadows_fini(&adaptive->shadows);
  perigee_dealloc(adaptive);
  perigee_haze_fini(&order->haze);
  order->adaptive = NULL;
  order->sketch = NULL;
  order->equipped = 0;
}

size_t perigee_adaptive_bytes(const perigee_adaptive *adaptive) {
  if (!adaptive) return 0;
  return sizeof *adaptive + perigee_sketch_bytes(&adaptive->sketch) +
         perigee_shadows_bytes(&adaptive->shadows);
}

static int take_memory(perigee_order *order, uint32_t entries, int with_shadows) {
  perigee_adaptive *adaptive = order->adaptive = perigee_zalloc(sizeof *adaptive);
  if (!adaptive || perigee_sketch_init(&adaptive->sketch, entries)) return -1;
  if (perigee_haze_init(&order->haze, entries)) return -1;
  return with_shadows ? perigee_shadows_init(&adaptive->shadows, entries, &adaptive->sketch) : 0;
}

/* Without memory it is an LRU. */
static int equip(perigee_order *order, uint32_t entries, int with_shadows) {
  strip(order);
  if (take_memory(order, entries, with_shadows)) {
    strip(order);
    order->setting = (perigee_setting){.rule = PERIGEE_RULE_RECENCY};
    return -1;
  }
  order->sketch = &order->adaptive->sketch;
  order->equipped = entries;
  return 0;
}

static void equip_auto(perigee_order *order, uint32_t entries) {
  uint32_t chosen = order->adaptive ? order->adaptive->shadows.chosen : 0;
  if (equip(order, entries, 1)) return;
  order->adaptive->shadows.chosen = chosen;
  order->setting = perigee_shadows_settings[chosen];
}

static void equip_wtinylfu(perigee_order *order, uint32_t entries) {
  if (equip(order, entries, 0)) return;
  order->setting = perigee_policy_wtinylfu.setting;
}

/* A key was used, or put because it was missing. */
static void observe(perigee_order *order, uint32_t content, int was_hit) {
  perigee_shadows *shadows = &order->adaptive->shadows;
  perigee_sketch_add(&order->adaptive->sketch, content);
  if (perigee_shadows_observe(shadows, content, was_hit))
    order->setting = perigee_shadows_settings[shadows->chosen];
}

static void use(perigee_order *order, uint64_t use) {
  uint32_t slot = (uint32_t)use;
  if (use & INSERTED) {
    observe(order, (uint32_t)use, 0);
  } else if (perigee_order_queue(order, slot) != PERIGEE_ORDER_QUEUES) {
    observe(order, order->nodes[slot].content, 1);
    perigee_segments_touch(order, slot);
  }
}

static void prefetch_node(const perigee_order *order, uint64_t use) {
  if (!(use & INSERTED)) __builtin_prefetch(&order->nodes[use]);
}

static void prefetch_count(const perigee_order *order, uint64_t use) {
  uint32_t content = use & INSERTED ? (uint32_t)use : order->nodes[use].content;
  perigee_sketch_prefetch(order->sketch, content);
}

/* Brings the uses in the ring into the order. */
static void settle(perigee_order *order) {
  perigee_adaptive *adaptive = order->adaptive;
  if (!adaptive) return;
  uint32_t pending = adaptive->pending;
  const uint64_t *ring = adaptive->ring;
  adaptive->pending = 0;
  for (uint32_t i = 0; i < pending; i++) prefetch_node(order, ring[i]);
  for (uint32_t i = 0; i < pending; i++) prefetch_count(order, ring[i]);
  for (uint32_t i = 0; i < pending; i++) use(order, ring[i]);
}

static void note(perigee_order *order, uint64_t use) {
  perigee_adaptive *adaptive = order->adaptive;
  adaptive->ring[adaptive->pending++] = use;
  if (adaptive->pending == RING) settle(order);
}

static void on_hit(perigee_order *order, uint32_t slot) {
  if (!order->adaptive) return;
  note(order, slot);
  if (++order->adaptive->idle > order->equipped) order->heed_below = PERIGEE_SEGMENTS_VISITS;
}

static void on_write(perigee_order *order, uint32_t slot) {
  settle(order);
  if (perigee_order_queue(order, slot) == 0 && order->setting.rule != PERIGEE_RULE_GHOST)
    perigee_segments_touch(order, slot);
}

static void on_insert(perigee_order *order, uint32_t slot) {
  perigee_segments_insert(order, slot);
  if (order->adaptive) note(order, order->nodes[slot].content | INSERTED);
}

static void settle_if_small(perigee_order *order) {
  if (order->equipped < LARGE) settle(order);
}

static void on_remove(perigee_order *order, uint32_t slot) {
  settle_if_small(order);
  perigee_order_take_out(order, slot);
}

static uint32_t victim(perigee_order *order) {
  settle_if_small(order);
  if (order->adaptive) {
    order->adaptive->idle = 0;
    order->heed_below = UINT32_MAX;
  }
  return perigee_segments_victim(order);
}

static const char *verify(const perigee_order *order) {
  const perigee_adaptive *adaptive = order->adaptive;
  if (!adaptive) return NULL;
  PERIGEE_VERIFY(adaptive->pending < RING);
  PERIGEE_VERIFY(order->sketch == &adaptive->sketch && order->equipped > 0);
  return perigee_shadows_verify(&adaptive->shadows);
}

/* What both have in common. */
#define OVER_SEGMENTS                                                                            \
  .max_visits = PERIGEE_SEGMENTS_VISITS, .remembers = 1, .strip = strip, .on_insert = on_insert, \
  .on_hit = on_hit, .on_write = on_write, .on_remove = on_remove, .settle = settle,              \
  .victim = victim, .verify = verify

const perigee_policy perigee_policy_wtinylfu = {
  OVER_SEGMENTS,
  .name = "wtinylfu",
  .hears_hits = 1,
  .setting = {PERIGEE_RULE_CONTEST, .margin = 0, .window = 10}, /* also while it fills */
  .equip = equip_wtinylfu,
};

const perigee_policy perigee_policy_auto = {
  OVER_SEGMENTS,
  .name = "auto",
  .setting = {PERIGEE_RULE_CONTEST, .margin = 1, .window = 300}, /* while it fills */
  .equip = equip_auto,
};
