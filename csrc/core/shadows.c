/* SPDX-License-Identifier: MIT */
#include "core/shadows.h"

#include "core/segments.h"

#include <math.h>

enum {
  PERIODS = 4, /* in as many requests as a shadow has entries */
  SHORTEST_PERIOD = 8,
  MOST_DOUBLINGS = 6,
  FORGIVEN = 1024,  /* periods after which the last doubling is taken back */
  SETTLED = 128,    /* periods after which the choice is settled: from then on there are rests, */
  BURST = 16,       /* after so many periods each, */
  WARM_UP = 4,      /* of which the first after a rest are not judged: the shadows lag behind */
  LONGEST_REST = 7, /* bursts */
};

/* A setting must gain this many hits per entry of a shadow to be chosen, and it is not worth its
 * while below so many per request. */
static const double THRESHOLD = PERIGEE_IF_HARD(0.0, 0.05);
static const double LEAST_GAIN = 0.001;

const perigee_setting perigee_shadows_settings[PERIGEE_SHADOWS] = {
  {PERIGEE_RULE_GHOST, .margin = 0, .window = 100},
  {PERIGEE_RULE_CONTEST, .margin = 1, .window = 50},
  {PERIGEE_RULE_CONTEST, .margin = 2, .window = 10},
  {PERIGEE_RULE_CONTEST, .margin = 1, .window = 200},
  {PERIGEE_RULE_RECENCY, .margin = 0, .window = 1000},
  {PERIGEE_RULE_CONTEST, .margin = 0, .window = 50},
};

static void init_shadow(perigee_shadow *shadow, uint32_t entries, perigee_node *nodes,
                        uint16_t *buckets, const perigee_sketch *sketch) {
  *shadow = (perigee_shadow){.buckets = buckets};
  perigee_order_init(&shadow->order);
  shadow->order.limit = entries;
  shadow->order.nodes = nodes;
  shadow->order.marks = (unsigned char *)&nodes->space + PERIGEE_LOW_BYTE(uint32_t);
  shadow->order.mark_stride = sizeof *nodes;
  shadow->order.sketch = sketch;
}

/* More is more exact. All that evicting takes is 24 KB up to 1,024 entries, and 11 bytes an entry
 * for the shadows of large caches. */
static uint32_t entries_for(uint32_t entries) {
  uint32_t most = PERIGEE_IF_HARD(4, entries >= 10000 ? 1024 : entries > 1024 ? 208 : 108);
  return entries < most ? entries : most;
}

int perigee_shadows_init(perigee_shadows *shadows, uint32_t entries, const perigee_sketch *sketch) {
  uint32_t each = entries_for(entries), log2 = 1;
  while ((1u << log2) < each) log2++;
  size_t buckets = sizeof(uint16_t) << log2, bytes = each * sizeof(perigee_node) + buckets;
  char *memory = perigee_zalloc(PERIGEE_SHADOWS * bytes);
  if (!memory) return -1;
  uint64_t sample = ((uint64_t)each << 32) / entries;
  *shadows = (perigee_shadows){
    .memory = memory,
    .entries = each,
    .sample = sample < UINT32_MAX ? (uint32_t)sample : UINT32_MAX,
    .shift = 32 - log2,
  };
  perigee_node *nodes = shadows->memory;
  uint16_t *first_bucket = (uint16_t *)(nodes + (size_t)PERIGEE_SHADOWS * each);
  for (uint32_t i = 0; i < PERIGEE_SHADOWS; i++) {
    perigee_shadow *shadow = &shadows->each[i];
    init_shadow(shadow, each, nodes + (size_t)i * each, first_bucket + ((size_t)i << log2), sketch);
    shadow->order.setting = perigee_shadows_settings[i];
    if (shadow->order.setting.rule != PERIGEE_RULE_GHOST) continue;
    if (perigee_haze_init(&shadow->order.haze, each)) {
      perigee_shadows_fini(shadows);
      return -1;
    }
  }
  return 0;
}

void perigee_shadows_fini(perigee_shadows *shadows) {
  for (uint32_t i = 0; i < PERIGEE_SHADOWS; i++) perigee_haze_fini(&shadows->each[i].order.haze);
  perigee_dealloc(shadows->memory);
  shadows->memory = NULL;
}

size_t perigee_shadows_bytes(const perigee_shadows *shadows) {
  if (!shadows->memory) return 0;
  size_t buckets = sizeof(uint16_t) << (32 - shadows->shift);
  size_t bytes = PERIGEE_SHADOWS * (shadows->entries * sizeof(perigee_node) + buckets);
  for (uint32_t i = 0; i < PERIGEE_SHADOWS; i++)
    bytes += perigee_haze_bytes(&shadows->each[i].order.haze);
  return bytes;
}

/* The chains of a shadow: a node's `space` holds the next of its bucket above the mark. */

static uint32_t next_of(const perigee_node *node) {
  return node->space >> 16;
}

static void set_next(perigee_node *node, uint32_t next) {
  node->space = (node->space & 0xFFFF) | next << 16;
}

static uint16_t *bucket_of(const perigee_shadows *shadows, const perigee_shadow *shadow,
                           uint32_t content) {
  return &shadow->buckets[(uint64_t)(content * 0x9E3779B1u) >> shadows->shift];
}

static uint32_t find(const perigee_shadow *shadow, const uint16_t *bucket, uint32_t content) {
  for (uint32_t i = *bucket; i; i = next_of(&shadow->order.nodes[i - 1]))
    if (shadow->order.nodes[i - 1].content == content) return i - 1;
  return PERIGEE_NONE;
}

static void unchain(const perigee_shadows *shadows, perigee_shadow *shadow, uint32_t slot) {
  perigee_node *nodes = shadow->order.nodes;
  uint16_t *bucket = bucket_of(shadows, shadow, nodes[slot].content);
  uint32_t next = next_of(&nodes[slot]), at = *bucket;
  if (at == slot + 1) {
    *bucket = (uint16_t)next;
    return;
  }
  while (next_of(&nodes[at - 1]) != slot + 1) at = next_of(&nodes[at - 1]);
  set_next(&nodes[at - 1], next);
}

static void hit(perigee_shadow *shadow, uint32_t slot) {
  perigee_order *order = &shadow->order;
  uint32_t visits = perigee_order_visits(order, slot);
  if (visits < PERIGEE_SEGMENTS_VISITS) perigee_order_set_visits(order, slot, visits + 1);
  perigee_segments_touch(order, slot);
  shadow->hits++;
}

static void miss(const perigee_shadows *shadows, perigee_shadow *shadow, uint16_t *bucket,
                 uint32_t content) {
  perigee_order *order = &shadow->order;
  uint32_t slot = shadow->used;
  if (slot < shadows->entries) {
    shadow->used++;
  } else {
    slot = perigee_segments_victim(order);
    perigee_order_remove(order, slot);
    unchain(shadows, shadow, slot);
  }
  order->nodes[slot].content = content;
  order->nodes[slot].space = (uint32_t)*bucket << 16;
  *bucket = (uint16_t)(slot + 1);
  perigee_segments_insert(order, slot);
}

static double enough(const perigee_shadows *shadows) {
  uint32_t doublings = shadows->choices < MOST_DOUBLINGS ? shadows->choices : MOST_DOUBLINGS;
  return THRESHOLD * shadows->entries * (double)(1u << doublings);
}

/* The setting that has earned the most. */
static uint32_t best(const perigee_shadows *shadows) {
  uint32_t best = shadows->chosen;
  for (uint32_t i = 0; i < PERIGEE_SHADOWS; i++)
    if (shadows->each[i].credit > shadows->each[best].credit) best = i;
  return best;
}

static void give_credit(perigee_shadows *shadows) {
  double par = shadows->hits + LEAST_GAIN * shadows->shown;
  for (uint32_t i = 0; i < PERIGEE_SHADOWS; i++) {
    perigee_shadow *shadow = &shadows->each[i];
    if (i != shadows->chosen) shadow->credit = fmax(0, shadow->credit + shadow->hits - par);
  }
}

/* What the others have earned, they had over the one before, too. */
static void choose(perigee_shadows *shadows, uint32_t setting) {
  double credit = shadows->each[setting].credit;
  for (uint32_t i = 0; i < PERIGEE_SHADOWS; i++)
    shadows->each[i].credit = fmax(0, shadows->each[i].credit - credit);
  shadows->chosen = setting;
  shadows->choices++;
  shadows->calm = 0;
}

static uint32_t period_of(const perigee_shadows *shadows) {
  uint32_t period = shadows->entries / PERIODS;
  return period > SHORTEST_PERIOD ? period : SHORTEST_PERIOD;
}

/* The choice has stood for another period. The longer it has, and while nobody is on the way to
 * replace it, the longer are the rests between bursts. */
static void stand(perigee_shadows *shadows, double challenge) {
  if (++shadows->calm % FORGIVEN == 0 && shadows->choices > 0) shadows->choices--;
  if (shadows->calm < SETTLED || shadows->calm % BURST != 0 || challenge > enough(shadows) / 2)
    return;
  uint32_t bursts = shadows->calm / SETTLED < LONGEST_REST ? shadows->calm / SETTLED : LONGEST_REST;
  shadows->rest = bursts * BURST * period_of(shadows);
  shadows->warm_up = WARM_UP;
}

/* A period is over. 1: another setting has been chosen. */
static int judge(perigee_shadows *shadows) {
  if (shadows->warm_up > 0)
    shadows->warm_up--;
  else
    give_credit(shadows);
  for (uint32_t i = 0; i < PERIGEE_SHADOWS; i++) shadows->each[i].hits = 0;
  shadows->shown = shadows->hits = 0;
  uint32_t setting = best(shadows);
  int changes = shadows->each[setting].credit > enough(shadows);
  if (changes)
    choose(shadows, setting);
  else
    stand(shadows, shadows->each[setting].credit);
  return changes;
}

static void show(const perigee_shadows *shadows, perigee_shadow *shadow, uint32_t content) {
  uint16_t *bucket = bucket_of(shadows, shadow, content);
  uint32_t slot = find(shadow, bucket, content);
  if (slot != PERIGEE_NONE)
    hit(shadow, slot);
  else
    miss(shadows, shadow, bucket, content);
}

int perigee_shadows_show(perigee_shadows *shadows, uint32_t content, int was_hit) {
  for (uint32_t i = 0; i < PERIGEE_SHADOWS; i++) show(shadows, &shadows->each[i], content);
  shadows->hits += (uint32_t)was_hit;
  return ++shadows->shown >= period_of(shadows) && judge(shadows);
}

static const char *verify_shadow(const perigee_shadows *shadows, const perigee_shadow *shadow) {
  const perigee_order *order = &shadow->order;
  uint32_t queued = 0;
  for (uint32_t i = 0; i < PERIGEE_ORDER_QUEUES; i++) {
    uint32_t count = 0;
    for (uint32_t slot = order->queues[i].head; slot != PERIGEE_NONE;
         slot = order->nodes[slot].older) {
      const uint16_t *bucket = bucket_of(shadows, shadow, order->nodes[slot].content);
      PERIGEE_VERIFY(slot < shadow->used && perigee_order_queue(order, slot) == i);
      PERIGEE_VERIFY(find(shadow, bucket, order->nodes[slot].content) == slot);
      PERIGEE_VERIFY(++count <= shadow->used);
    }
    PERIGEE_VERIFY(count == order->queues[i].count);
    queued += count;
  }
  PERIGEE_VERIFY(queued == shadow->used && queued <= shadows->entries);
  return NULL;
}

const char *perigee_shadows_verify(const perigee_shadows *shadows) {
  const char *broken = NULL;
  for (uint32_t i = 0; i < PERIGEE_SHADOWS && shadows->memory && !broken; i++)
    broken = verify_shadow(shadows, &shadows->each[i]);
  return broken;
}
