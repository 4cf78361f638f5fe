/* SPDX-License-Identifier: MIT
 *
 * Writing to the store: put, tag, touch, delete.
 */
#include "core/store_state.h"

#include <math.h>

static int need_wheel(perigee_store *store) {
  if (store->wheel) return 0;
  perigee_wheel *wheel = perigee_alloc(sizeof *wheel);
  perigee_wheel_link *links = perigee_alloc(store->capacity * sizeof *links);
  if (!wheel || !links) {
    perigee_dealloc(wheel);
    perigee_dealloc(links);
    return -1;
  }
  wheel->links = links;
  wheel->entries = store->entries;
  wheel->grace_ms = store->grace_ms;
  perigee_wheel_reset(wheel, perigee_clock_read(store->clock));
  store->wheel = wheel;
  return 0;
}

/* A random part of up to `jitter` is taken off. */
static double shortened(perigee_store *store, double ttl_ms) {
  if (store->jitter == 0 || ttl_ms == INFINITY) return ttl_ms;
  double part = (double)(perigee_random_next(&store->random) >> 11) * 0x1p-53;
  return ttl_ms * (1 - store->jitter * part);
}

/* At least one millisecond from now, fractions rounded up. What is over a century away is never. */
static uint64_t deadline_after(perigee_store *store, double ttl_ms) {
  if (!(ttl_ms < (double)PERIGEE_WHEEL_END)) return PERIGEE_FOREVER;
  int64_t whole = (int64_t)ttl_ms;
  if ((double)whole < ttl_ms || whole < 1) whole++;
  uint64_t deadline = perigee_clock_read(store->clock) + (uint64_t)whole;
  return deadline < PERIGEE_WHEEL_END ? deadline : PERIGEE_FOREVER;
}

static void set_deadline(perigee_store *store, uint32_t slot, uint64_t deadline) {
  perigee_entry *entry = &store->entries[slot];
  if (perigee_entry_deadline(entry) != PERIGEE_FOREVER) perigee_wheel_remove(store->wheel, slot);
  uint64_t rest = entry->life & ((1ull << PERIGEE_DEADLINE_SHIFT) - 1);
  entry->life = deadline << PERIGEE_DEADLINE_SHIFT | rest;
  if (deadline == PERIGEE_FOREVER) return;
  perigee_wheel_insert(store->wheel, slot);
  if (deadline < store->wheel_due_ms) store->wheel_due_ms = deadline;
}

/* Equal for the same key whenever it comes, also when its space was cleared in between. */
static uint32_t content_of(const perigee_store *store, uint32_t space, const char *s,
                           uint32_t length, double n) {
  if (!store->policy->remembers) return 0;
  uint64_t seed = store->seed ^ (uint64_t)(space & 0xFFFF) * PERIGEE_HASH_K2;
  uint64_t hash =
    s ? perigee_hash_bytes(s, length, seed) : perigee_hash_word(perigee_word(s, n), ~seed);
  return (uint32_t)(hash >> 32);
}

/* An empty slot: freed, never used, or taken from an entry (the reason says why it left). */
static uint32_t empty_slot(perigee_store *store, int32_t *reason) {
  *reason = 0;
  if (store->used >= store->limit) return perigee_store_evict(store, reason);
  uint32_t slot = store->free;
  store->used++;
  if (slot != PERIGEE_NONE) {
    store->free = store->nodes[slot].newer;
    return slot;
  }
  if (store->sweep_left > 0) store->sweep_left++; /* a slot more on the sweep's way around */
  return store->view.high++;
}

/* A forgotten or empty slot becomes the entry of a key. */
static void occupy(perigee_store *store, uint32_t slot, uint32_t space, uint64_t word,
                   uint32_t content, double weight) {
  perigee_store_track_leave(store, slot);
  uint64_t life = PERIGEE_FOREVER << PERIGEE_DEADLINE_SHIFT | store->usual_life;
  store->entries[slot] = (perigee_entry){.word = word, .life = life | (space ? PERIGEE_SPACED : 0)};
  store->nodes[slot].space = space;
  store->nodes[slot].content = content;
  perigee_index_insert(&store->index, store->entries, store->nodes, slot);
  store->policy->on_insert(&store->order, slot);
  store->live++;
  if (!store->weights) return;
  store->weights[slot] = weight;
  store->weight += weight;
}

/* Evicts until `weight` more fits. Returns 0, or -1 when no more than one may be gone. */
static int make_weight(perigee_store *store, double weight) {
  while (store->live > 0 && store->weight + weight > store->max_weight) {
    int32_t reason;
    if (store->view.gone_count >= PERIGEE_GONE_MAX - 1) return -1;
    uint32_t slot = perigee_store_evict(store, &reason);
    if (slot == PERIGEE_NONE) return 0;
    perigee_store_give_up(store, slot, reason);
  }
  return 0;
}

/* Whether the store has what a new entry with this lifetime needs. */
static int prepare(perigee_store *store, int forever) {
  if (store->used < store->limit && store->free == PERIGEE_NONE &&
      store->view.high == store->capacity && perigee_store_more_slots(store))
    return -1;
  return forever ? 0 : need_wheel(store);
}

/* Why the entry in an indexed slot goes when its key is written. */
static int32_t why_written(perigee_store *store, uint32_t slot) {
  int32_t reason = perigee_store_why_dead(store, slot);
  if (reason) return reason;
  uint64_t deadline = perigee_entry_deadline(&store->entries[slot]);
  if (deadline == PERIGEE_FOREVER) return PERIGEE_GONE_REPLACED;
  uint64_t now = perigee_clock_read(store->clock);
  return now < deadline + store->grace_ms ? PERIGEE_GONE_REPLACED : PERIGEE_GONE_EXPIRED;
}

/* Not to be stored: the key's old entry goes all the same. */
static int32_t refuse(perigee_store *store, uint32_t old) {
  if (old == PERIGEE_NONE) return PERIGEE_MISS;
  int32_t reason = why_written(store, old);
  perigee_store_forget(store, old);
  perigee_store_give_up(store, old, reason);
  return PERIGEE_MISS;
}

/* The usual overwrite, of a live or stale entry: it keeps its slot and what the policy knows of
 * it. In a store with weights it is made anew, since others may have to go for it. */
static int can_stay(const perigee_store *store, int32_t reason) {
  return reason == PERIGEE_GONE_REPLACED && !store->weights;
}

/* A written entry is as recent as a new one; that it was written is no visit. */
static void overwrite(perigee_store *store, uint32_t slot) {
  perigee_store_untag(store, slot);
  if (store->policy->on_write) store->policy->on_write(&store->order, slot);
}

/* Finds a slot for a key that has none, or whose entry must be made anew. Negative as put. */
static int32_t slot_for(perigee_store *store, uint32_t old, double weight, int32_t *reason) {
  if (old != PERIGEE_NONE) perigee_store_forget(store, old);
  if (store->weights && make_weight(store, weight)) {
    if (old != PERIGEE_NONE) perigee_store_give_up(store, old, *reason);
    return PERIGEE_AGAIN;
  }
  if (old != PERIGEE_NONE) return (int32_t)old;
  uint32_t slot = empty_slot(store, reason);
  return slot != PERIGEE_NONE ? (int32_t)slot : PERIGEE_MISS;
}

PERIGEE_API int32_t perigee_store_put(perigee_store *store, uint32_t space, const char *s,
                                      uint32_t length, double n, double ttl_ms, double weight) {
  int32_t reason = 0;
  store->view.displaced = store->view.saved = 0;
  if (store->view.gone_count > 0) return PERIGEE_AGAIN;
  uint64_t word = perigee_word(s, n);
  uint32_t old = perigee_store_slot(store, space, word);
  if (store->limit == 0 || weight > store->max_weight) return refuse(store, old);
  if (prepare(store, ttl_ms == INFINITY)) return PERIGEE_NO_MEMORY;
  if (old != PERIGEE_NONE) reason = why_written(store, old);
  int32_t slot = (int32_t)old;
  if (can_stay(store, reason)) {
    overwrite(store, old);
  } else {
    slot = slot_for(store, old, weight, &reason);
    if (slot < 0) return slot;
    occupy(store, (uint32_t)slot, space, word, content_of(store, space, s, length, n), weight);
  }
  set_deadline(store, (uint32_t)slot, deadline_after(store, shortened(store, ttl_ms)));
  store->view.displaced = reason;
  perigee_store_track_write(store, (uint32_t)slot);
  if (old != PERIGEE_NONE && reason == PERIGEE_GONE_EXPIRED)
    perigee_store_count_expiry(store, (uint32_t)slot);
  perigee_store_reclaim_some(store);
  return slot;
}

PERIGEE_API int32_t perigee_store_fit(perigee_store *store) {
  return make_weight(store, 0) ? PERIGEE_AGAIN : 0;
}

PERIGEE_API int32_t perigee_store_reweigh(perigee_store *store, int32_t slot, double weight) {
  store->weight += weight - store->weights[slot];
  store->weights[slot] = weight;
  if (weight <= store->max_weight) return perigee_store_fit(store);
  if (store->view.gone_count >= PERIGEE_GONE_MAX) return PERIGEE_AGAIN;
  perigee_store_forget(store, (uint32_t)slot);
  perigee_store_give_up(store, (uint32_t)slot, PERIGEE_GONE_SIZE);
  return 0;
}

PERIGEE_API int32_t perigee_store_touch(perigee_store *store, uint32_t space, const char *s,
                                        double n, double ttl_ms) {
  int32_t slot = perigee_store_find(store, space, s, n);
  if (slot < 0) return 0;
  if (ttl_ms != INFINITY && need_wheel(store)) return PERIGEE_NO_MEMORY;
  set_deadline(store, (uint32_t)slot, deadline_after(store, shortened(store, ttl_ms)));
  perigee_store_track_write(store, (uint32_t)slot);
  return 1;
}

PERIGEE_API void perigee_store_set_ttl(perigee_store *store, int32_t slot, double ttl_ms) {
  if (store->entries[slot].word == PERIGEE_WORD_FREE || (ttl_ms != INFINITY && !store->wheel))
    return;
  set_deadline(store, (uint32_t)slot, deadline_after(store, ttl_ms));
}

PERIGEE_API int32_t perigee_store_del(perigee_store *store, uint32_t space, const char *s,
                                      double n) {
  if (store->view.gone_count >= PERIGEE_GONE_MAX) return PERIGEE_AGAIN;
  uint32_t slot = perigee_store_slot(store, space, perigee_word(s, n));
  if (slot == PERIGEE_NONE) return 0;
  int32_t reason = why_written(store, slot);
  if (reason == PERIGEE_GONE_REPLACED) reason = PERIGEE_GONE_DELETED;
  perigee_store_forget(store, slot);
  perigee_store_give_up(store, slot, reason);
  return reason == PERIGEE_GONE_DELETED;
}

/* Tags. */

static int need_tagging(perigee_store *store) {
  if (store->tagging) return 0;
  store->tagging = perigee_alloc(store->capacity * sizeof *store->tagging);
  return store->tagging ? 0 : -1;
}

static uint32_t new_link(perigee_store *store) {
  uint32_t link = store->tag_link_free;
  if (link != PERIGEE_NONE) {
    store->tag_link_free = store->tag_links[link].next;
    return link;
  }
  if (perigee_grow((void **)&store->tag_links, &store->tag_link_capacity, store->tag_link_used + 1,
                   sizeof *store->tag_links))
    return PERIGEE_NONE;
  return store->tag_link_used++;
}

PERIGEE_API int32_t perigee_store_tag(perigee_store *store, int32_t slot, int32_t node) {
  if (store->entries[slot].word == PERIGEE_WORD_FREE) return 0;
  if (need_tagging(store)) return PERIGEE_NO_MEMORY;
  uint32_t link = new_link(store);
  if (link == PERIGEE_NONE) return PERIGEE_NO_MEMORY;
  perigee_entry *entry = &store->entries[slot];
  perigee_entry_tags *tagging = &store->tagging[slot];
  if (!(entry->life & PERIGEE_TAGGED)) {
    entry->life |= PERIGEE_TAGGED;
    tagging->first = PERIGEE_NONE;
  }
  store->tag_links[link] = (perigee_tag_link){.node = node, .next = tagging->first};
  tagging->first = link;
  tagging->stamp = perigee_tags_now(store->tags);
  perigee_tags_hold(store->tags, node);
  return 0;
}
