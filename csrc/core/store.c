/* SPDX-License-Identifier: MIT
 *
 * The store's face: keys in, slots out. For the representation see store_state.h.
 */
#include "core/store_state.h"

#include <math.h>
#include <string.h>

enum {
  ALLOCATE_AT_ONCE = PERIGEE_IF_HARD(1, 1 << 20), /* bounds up to this get all slots at birth */
  FIRST_SLOTS = PERIGEE_IF_HARD(1, 1024),
  STRANGE = PERIGEE_EPOCH_MASK | PERIGEE_SPACED | PERIGEE_TAGGED,
};

static const perigee_policy *const policies[] = {
  [PERIGEE_POLICY_FIFO] = &perigee_policy_fifo,
  [PERIGEE_POLICY_LRU] = &perigee_policy_lru,
  [PERIGEE_POLICY_SIEVE] = &perigee_policy_sieve,
  [PERIGEE_POLICY_S3FIFO] = &perigee_policy_s3fifo,
  [PERIGEE_POLICY_WTINYLFU] = &perigee_policy_wtinylfu,
  [PERIGEE_POLICY_AUTO] = &perigee_policy_auto,
};

/* Arrays. Each is grown on its own, and whoever else points into it is told at once, since the next
 * one may fail; `capacity` moves only when all have grown. */

static int resize_array(void *array, size_t item_size, uint32_t capacity) {
  void **items = array;
  void *grown = perigee_realloc(*items, (size_t)capacity * item_size);
  if (!grown) return -1;
  *items = grown;
  return 0;
}

static int resize_index(perigee_store *store, uint32_t capacity) {
  perigee_index index;
  if (store->index.cells && perigee_index_capacity(&store->index) >= capacity) return 0;
  if (perigee_index_init(&index, capacity, store->seed)) return -1;
  for (uint32_t slot = 0; slot < store->view.high; slot++)
    if (store->entries[slot].word != PERIGEE_WORD_FREE)
      perigee_index_insert(&index, store->entries, store->nodes, slot);
  perigee_index_fini(&store->index);
  store->index = index;
  return 0;
}

static int resize_slots(perigee_store *store, uint32_t capacity) {
  if (resize_array(&store->entries, sizeof *store->entries, capacity)) return -1;
  store->order.marks = (unsigned char *)&store->entries->life + PERIGEE_LOW_BYTE(uint64_t);
  if (store->wheel) store->wheel->entries = store->entries;
  if (resize_array(&store->nodes, sizeof *store->nodes, capacity)) return -1;
  store->order.nodes = store->nodes;
  if (store->wheel && resize_array(&store->wheel->links, sizeof *store->wheel->links, capacity))
    return -1;
  if (store->tagging && resize_array(&store->tagging, sizeof *store->tagging, capacity)) return -1;
  if (store->weights && resize_array(&store->weights, sizeof *store->weights, capacity)) return -1;
  if (store->tracks) {
    if (resize_array(&store->tracks, 1, capacity)) return -1;
    memset(store->tracks + store->capacity, 0, capacity - store->capacity);
  }
  if (resize_index(store, capacity)) return -1;
  store->capacity = capacity;
  return 0;
}

int perigee_store_more_slots(perigee_store *store) {
  uint32_t doubled = PERIGEE_IF_HARD(store->capacity + 1, store->capacity * 2);
  uint32_t wanted = store->capacity ? doubled : FIRST_SLOTS;
  if (store->limit <= ALLOCATE_AT_ONCE || wanted > store->limit) wanted = store->limit;
  return resize_slots(store, wanted);
}

/* Life. */

static int init_store(perigee_store *store, const perigee_store_config *config) {
  store->policy = policies[config->policy];
  store->order.heed_below = store->policy->hears_hits ? UINT32_MAX : store->policy->max_visits;
  store->order.setting = store->policy->setting;
  store->order.mark_stride = sizeof *store->entries;
  double grace_ms = config->grace_ms;
  store->grace_ms = grace_ms < (double)PERIGEE_FOREVER ? (uint64_t)grace_ms : PERIGEE_FOREVER;
  store->jitter = config->jitter;
  store->max_weight = config->max_weight;
  store->seed = perigee_hash_random_seed();
  store->random = store->seed;
  store->wheel_due_ms = UINT64_MAX;
  store->free = store->tag_link_free = PERIGEE_NONE;
  perigee_order_init(&store->order);
  if (perigee_store_resize(store, config->max_entries) || resize_index(store, 1)) return -1;
  if (store->max_weight == INFINITY) return 0;
  store->weights = perigee_alloc(sizeof *store->weights);
  return store->weights ? 0 : -1;
}

PERIGEE_API perigee_store *perigee_store_new(const perigee_store_config *config,
                                             perigee_clock *clock, perigee_tags *tags) {
  perigee_store *store = perigee_zalloc(sizeof *store);
  if (!store) return NULL;
  store->clock = clock;
  store->tags = tags;
  if (tags) perigee_tags_retain(tags);
  if (init_store(store, config)) {
    perigee_store_free(store);
    return NULL;
  }
  return store;
}

static void drop_all_tags(perigee_store *store) {
  for (uint32_t slot = 0; slot < store->view.high; slot++) {
    const perigee_entry *entry = &store->entries[slot];
    if (entry->word == PERIGEE_WORD_FREE || !(entry->life & PERIGEE_TAGGED)) continue;
    for (uint32_t at = store->tagging[slot].first; at != PERIGEE_NONE;
         at = store->tag_links[at].next)
      perigee_tags_drop(store->tags, store->tag_links[at].node);
  }
}

PERIGEE_API void perigee_store_free(perigee_store *store) {
  if (!store) return;
  if (store->tagging) drop_all_tags(store);
  perigee_tags_free(store->tags);
  perigee_index_fini(&store->index);
  if (store->policy->strip) store->policy->strip(&store->order);
  if (store->wheel) perigee_dealloc(store->wheel->links);
  perigee_dealloc(store->wheel);
  perigee_dealloc(store->entries);
  perigee_dealloc(store->nodes);
  perigee_dealloc(store->tagging);
  perigee_dealloc(store->tag_links);
  perigee_dealloc(store->weights);
  perigee_dealloc(store->tracks);
  perigee_dealloc(store->spaces);
  perigee_dealloc(store);
}

PERIGEE_API perigee_store *perigee_store_closed(void) {
  static _Thread_local perigee_store *closed;
  static perigee_clock clock;
  perigee_store_config config = {.max_entries = 0, .max_weight = INFINITY};
  if (closed) return closed;
  perigee_tags *tags = perigee_tags_new();
  if (tags) closed = perigee_store_new(&config, &clock, tags);
  perigee_tags_free(tags);
  return closed;
}

PERIGEE_API perigee_store_view *perigee_store_get_view(perigee_store *store) {
  return &store->view;
}

PERIGEE_API perigee_tags *perigee_store_get_tags(perigee_store *store) {
  return store->tags;
}

/* Reading. */

static int32_t stale_or_miss(const perigee_store *store, uint32_t slot, uint64_t now) {
  uint64_t gone_at = perigee_entry_deadline(&store->entries[slot]) + store->grace_ms;
  return now < gone_at ? PERIGEE_STALE - (int32_t)slot : PERIGEE_MISS;
}

PERIGEE_API int32_t perigee_store_find(perigee_store *store, uint32_t space, const char *s,
                                       double n) {
  uint32_t slot = perigee_store_slot(store, space, perigee_word(s, n));
  if (slot == PERIGEE_NONE || perigee_store_why_dead(store, slot)) return PERIGEE_MISS;
  uint64_t deadline = perigee_entry_deadline(&store->entries[slot]);
  if (deadline == PERIGEE_FOREVER) return (int32_t)slot;
  uint64_t now = perigee_clock_read(store->clock);
  return now < deadline ? (int32_t)slot : stale_or_miss(store, slot, now);
}

PERIGEE_API void perigee_store_promote(perigee_store *store, int32_t slot) {
  perigee_entry *entry = &store->entries[slot];
  if (entry->word == PERIGEE_WORD_FREE || !perigee_store_is_current(store, entry)) return;
  if (perigee_entry_visits(entry) < store->policy->max_visits) entry->life++;
  if (store->policy->on_hit) store->policy->on_hit(&store->order, (uint32_t)slot);
}

static __attribute__((noinline)) int32_t promote_and_return(perigee_store *store, int32_t slot) {
  perigee_store_promote(store, slot);
  return slot;
}

/* The usual hit is found at its first cell, in space 0, untagged, on a held clock, and was
 * visited before: it runs through perigee_store_get with no call and no saved register. All
 * else leaves it by a tail call to one of these. */

static __attribute__((noinline)) int32_t count_miss(perigee_store *store) {
  store->view.misses++;
  return PERIGEE_MISS;
}

static __attribute__((noinline)) int32_t get_unusual(perigee_store *store, const char *s,
                                                     double n) {
  int32_t slot = perigee_store_find(store, 0, s, n);
  if (slot >= 0) {
    store->view.hits++;
    perigee_store_promote(store, slot);
  }
  return slot == PERIGEE_MISS ? count_miss(store) : slot;
}

/* A current entry, found, on a running clock. */
static __attribute__((noinline)) int32_t get_running(perigee_store *store, uint32_t slot) {
  uint64_t deadline = perigee_entry_deadline(&store->entries[slot]);
  if (deadline != PERIGEE_FOREVER) {
    uint64_t now = perigee_clock_read_machine(store->clock);
    if (now >= deadline) {
      int32_t stale = stale_or_miss(store, slot, now);
      return stale == PERIGEE_MISS ? count_miss(store) : stale;
    }
  }
  store->view.hits++;
  if ((store->entries[slot].life & PERIGEE_VISITS_MASK) < store->order.heed_below)
    perigee_store_promote(store, (int32_t)slot);
  return (int32_t)slot;
}

PERIGEE_API void perigee_store_count(perigee_store *store, uint32_t space, int32_t hits,
                                     int32_t misses) {
  store->view.hits += (uint64_t)hits;
  store->view.misses += (uint64_t)misses;
  if (space == 0) return;
  perigee_space *counters = perigee_store_space_of(store, space);
  counters->hits += (uint64_t)hits;
  counters->misses += (uint64_t)misses;
}

PERIGEE_API int32_t perigee_store_get_in(perigee_store *store, uint32_t space, const char *s,
                                         double n) {
  int32_t slot = perigee_store_find(store, space, s, n);
  if (slot >= 0) {
    perigee_store_count(store, space, 1, 0);
    if ((store->entries[slot].life & PERIGEE_VISITS_MASK) < store->order.heed_below)
      perigee_store_promote(store, slot);
  } else if (slot == PERIGEE_MISS) {
    perigee_store_count(store, space, 0, 1);
  }
  return slot;
}

PERIGEE_API int32_t perigee_store_get(perigee_store *store, const char *s, double n) {
  uint64_t word = perigee_word(s, n);
  uint64_t hash = perigee_index_hash(&store->index, 0, word);
  uint32_t cell = store->index.cells[perigee_index_home(&store->index, hash)];
  if (PERIGEE_UNLIKELY(cell == 0)) return count_miss(store);
  if (PERIGEE_UNLIKELY(!perigee_index_tag_fits(&store->index, cell, hash)))
    return get_unusual(store, s, n);
  uint32_t slot = perigee_index_slot(&store->index, cell);
  const perigee_entry *entry = &store->entries[slot];
  uint64_t life = entry->life;
  uint64_t strange = (life ^ store->usual_life) & STRANGE;
  if (PERIGEE_UNLIKELY(entry->word != word || strange)) return get_unusual(store, s, n);
  if (PERIGEE_UNLIKELY(!store->clock->held)) return get_running(store, slot);
  if (PERIGEE_UNLIKELY(store->clock->now_ms >= life >> PERIGEE_DEADLINE_SHIFT))
    return get_unusual(store, s, n);
  store->view.hits++;
  if (PERIGEE_UNLIKELY((life & PERIGEE_VISITS_MASK) < store->order.heed_below))
    return promote_and_return(store, (int32_t)slot);
  return (int32_t)slot;
}

/* Looking. */

PERIGEE_API double perigee_store_ttl(perigee_store *store, int32_t slot) {
  uint64_t deadline = perigee_entry_deadline(&store->entries[slot]);
  if (deadline == PERIGEE_FOREVER) return INFINITY;
  return (double)deadline - (double)perigee_clock_read(store->clock);
}

int perigee_store_is_live(perigee_store *store, uint32_t slot) {
  if (store->entries[slot].word == PERIGEE_WORD_FREE) return 0;
  return !perigee_store_why_dead(store, slot) && perigee_store_ttl(store, (int32_t)slot) > 0;
}

PERIGEE_API int32_t perigee_store_next(perigee_store *store, int32_t slot) {
  for (uint32_t next = (uint32_t)(slot + 1); next < store->view.high; next++)
    if (perigee_store_is_live(store, next)) return (int32_t)next;
  return PERIGEE_MISS;
}

PERIGEE_API double perigee_store_size(perigee_store *store) {
  if (!store->wheel || store->wheel->total == 0) return store->live;
  uint64_t now = perigee_clock_read(store->clock);
  return (double)(store->live - perigee_wheel_expired(store->wheel, now));
}

PERIGEE_API double perigee_store_invalidated(perigee_store *store) {
  uint32_t invalidated = 0;
  if (store->sweep_left == 0) return 0;
  for (uint32_t slot = 0; slot < store->view.high; slot++)
    if (store->entries[slot].word != PERIGEE_WORD_FREE &&
        perigee_store_is_current(store, &store->entries[slot]) &&
        perigee_store_why_dead(store, slot) && perigee_store_ttl(store, (int32_t)slot) > 0)
      invalidated++;
  return invalidated;
}

PERIGEE_API double perigee_store_weight(const perigee_store *store) {
  return store->weight;
}

PERIGEE_API double perigee_store_bytes(const perigee_store *store) {
  size_t per_slot = sizeof *store->entries + sizeof *store->nodes;
  if (store->wheel) per_slot += sizeof *store->wheel->links;
  if (store->tagging) per_slot += sizeof *store->tagging;
  if (store->weights) per_slot += sizeof *store->weights;
  if (store->tracks) per_slot++;
  size_t bytes = sizeof *store + store->capacity * per_slot;
  bytes += perigee_index_bytes(&store->index);
  bytes += store->space_capacity * sizeof *store->spaces;
  bytes += perigee_ghost_bytes(&store->order.ghost);
  bytes += perigee_haze_bytes(&store->order.haze) + perigee_adaptive_bytes(store->order.adaptive);
  bytes += store->tag_link_capacity * sizeof *store->tag_links;
  return (double)(bytes + (store->wheel ? sizeof *store->wheel : 0));
}
