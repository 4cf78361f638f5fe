/* SPDX-License-Identifier: MIT
 *
 * Giving up slots: expiry, eviction, the sweep for what a clear or a tag killed.
 */
#include "core/store_state.h"

enum {
  EXPIRY_REACH = 4096,     /* entries one put may look at to find an expired one before it evicts */
  SWEEP_REACH = 1024,      /* the same for dead ones: a store of this size is always exact */
  EQUIP_AT_ONCE = 1 << 20, /* entries */
  PUT_EXPIRY = 8,          /* what each put looks at on its way */
  PUT_SWEEP = 16,
};

int perigee_store_tags_valid(perigee_store *store, uint32_t slot) {
  perigee_entry_tags *tagging = &store->tagging[slot];
  uint64_t now = perigee_tags_now(store->tags);
  if (tagging->stamp == now) return 1;
  for (uint32_t at = tagging->first; at != PERIGEE_NONE; at = store->tag_links[at].next)
    if (!perigee_tags_valid(store->tags, store->tag_links[at].node, (double)tagging->stamp))
      return 0;
  tagging->stamp = now;
  return 1;
}

int32_t perigee_store_why_dead(perigee_store *store, uint32_t slot) {
  const perigee_entry *entry = &store->entries[slot];
  if (!perigee_store_is_current(store, entry)) return PERIGEE_GONE_CLEARED;
  if ((entry->life & PERIGEE_SPACED) &&
      perigee_store_space_of(store, store->nodes[slot].space)->number != store->nodes[slot].space)
    return PERIGEE_GONE_CLEARED;
  if ((entry->life & PERIGEE_TAGGED) && !perigee_store_tags_valid(store, slot))
    return PERIGEE_GONE_INVALIDATED;
  return 0;
}

void perigee_store_untag(perigee_store *store, uint32_t slot) {
  if (!(store->entries[slot].life & PERIGEE_TAGGED)) return;
  store->entries[slot].life &= ~(uint64_t)PERIGEE_TAGGED;
  uint32_t at = store->tagging[slot].first;
  while (at != PERIGEE_NONE) {
    perigee_tag_link *link = &store->tag_links[at];
    uint32_t next = link->next;
    perigee_tags_drop(store->tags, link->node);
    link->next = store->tag_link_free;
    store->tag_link_free = at;
    at = next;
  }
}

void perigee_store_forget(perigee_store *store, uint32_t slot) {
  perigee_entry *entry = &store->entries[slot];
  perigee_index_remove(&store->index, store->entries, store->nodes, slot);
  perigee_store_untag(store, slot);
  if (perigee_store_is_current(store, entry)) {
    store->policy->on_remove(&store->order, slot);
    if (perigee_entry_deadline(entry) != PERIGEE_FOREVER) perigee_wheel_remove(store->wheel, slot);
    if (store->weights) store->weight -= store->weights[slot];
    store->live--;
  }
  entry->word = PERIGEE_WORD_FREE;
}

void perigee_store_give_up(perigee_store *store, uint32_t slot, int32_t reason) {
  int32_t at = store->view.gone_count++;
  store->gone_slot[at] = slot;
  store->gone_reason[at] = reason;
}

PERIGEE_API int32_t perigee_store_pop(perigee_store *store) {
  if (store->view.gone_count == 0) return PERIGEE_MISS;
  int32_t at = --store->view.gone_count;
  store->view.reason = store->gone_reason[at];
  perigee_store_track_leave(store, store->gone_slot[at]);
  store->popped++;
  return (int32_t)store->gone_slot[at];
}

PERIGEE_API void perigee_store_release(perigee_store *store, int32_t slot) {
  store->nodes[slot].newer = store->free;
  store->free = (uint32_t)slot;
  store->popped--;
  store->used--;
}

/* The next expired slot, forgotten, or PERIGEE_NONE (nothing is due, or budget spent). */
static uint32_t expired_slot(perigee_store *store, int32_t *budget) {
  if (!store->wheel || store->wheel->total == 0) return PERIGEE_NONE;
  uint64_t now = perigee_clock_read(store->clock);
  if (now < store->wheel_due_ms) return PERIGEE_NONE;
  uint32_t slot = perigee_wheel_next(store->wheel, now, budget);
  if (slot == PERIGEE_NONE) {
    if (*budget > 0) store->wheel_due_ms = perigee_wheel_due_ms(store->wheel);
    return slot;
  }
  perigee_store_count_expiry(store, slot);
  perigee_store_forget(store, slot);
  return slot;
}

/* The next dead slot of the sweep, forgotten, or PERIGEE_NONE (round over, or budget spent). */
static uint32_t swept_slot(perigee_store *store, int32_t *budget, int32_t *reason) {
  while (store->sweep_left > 0 && *budget > 0) {
    uint32_t slot = store->sweep_at;
    store->sweep_at = slot + 1 < store->view.high ? slot + 1 : 0;
    --*budget;
    if (--store->sweep_left == 0) store->epochs_unswept = store->spaces_unswept = 0;
    if (store->entries[slot].word == PERIGEE_WORD_FREE) continue;
    *reason = perigee_store_why_dead(store, slot);
    if (*reason == 0) continue;
    perigee_store_forget(store, slot);
    return slot;
  }
  return PERIGEE_NONE;
}

/* Takes what evicting needs for so many entries, unless what there is serves about as many. */
static void equip(perigee_store *store, uint32_t entries) {
  uint32_t equipped = store->order.equipped;
  if (!store->policy->equip || entries == 0) return;
  if (equipped == 0 || entries > 2 * (uint64_t)equipped || entries < equipped / 2)
    store->policy->equip(&store->order, entries);
}

/* It is equipped when it begins, for as many entries as there are: a bound on weight may let in
 * fewer than the bound on entries, or many more when they become lighter. */
static uint32_t victim_slot(perigee_store *store, int32_t *reason) {
  store->order.limit = store->live;
  equip(store, store->live);
  uint32_t slot = store->policy->victim(&store->order);
  if (slot == PERIGEE_NONE) return slot;
  *reason = perigee_store_why_dead(store, slot);
  if (*reason == 0) {
    *reason = PERIGEE_GONE_SIZE;
    perigee_store_count_eviction(store, slot);
  }
  perigee_store_forget(store, slot);
  return slot;
}

/* The stale slot that expired first, forgotten, or PERIGEE_NONE. */
static uint32_t stale_slot(perigee_store *store) {
  if (!store->wheel) return PERIGEE_NONE;
  uint32_t slot = store->wheel->stale_first;
  if (slot == PERIGEE_NONE) return slot;
  perigee_store_count_expiry(store, slot);
  perigee_store_forget(store, slot);
  return slot;
}

uint32_t perigee_store_evict(perigee_store *store, int32_t *reason) {
  int32_t budget = EXPIRY_REACH;
  uint32_t slot = expired_slot(store, &budget);
  *reason = PERIGEE_GONE_EXPIRED;
  if (slot == PERIGEE_NONE && store->grace_ms > 0) slot = stale_slot(store);
  if (slot != PERIGEE_NONE) return slot;
  if (store->sweep_left > 0) {
    budget = store->live > 0 ? SWEEP_REACH : INT32_MAX;
    slot = swept_slot(store, &budget, reason);
    if (slot != PERIGEE_NONE) return slot;
  }
  return victim_slot(store, reason);
}

static int has_room_for_gone(const perigee_store *store) {
  return store->view.gone_count < PERIGEE_IF_HARD(2, PERIGEE_GONE_MAX);
}

/* 1: there may be more that has expired. */
static int reclaim_expired(perigee_store *store, int32_t *budget) {
  while (*budget > 0) {
    if (!has_room_for_gone(store)) return 1;
    uint32_t slot = expired_slot(store, budget);
    if (slot == PERIGEE_NONE) break;
    perigee_store_give_up(store, slot, PERIGEE_GONE_EXPIRED);
  }
  return *budget <= 0;
}

/* 1: the sweep's round is not over. */
static int reclaim_dead(perigee_store *store, int32_t *budget) {
  while (store->sweep_left > 0 && *budget > 0) {
    int32_t reason;
    if (!has_room_for_gone(store)) return 1;
    uint32_t slot = swept_slot(store, budget, &reason);
    if (slot != PERIGEE_NONE) perigee_store_give_up(store, slot, reason);
  }
  return store->sweep_left > 0;
}

void perigee_store_reclaim_some(perigee_store *store) {
  int32_t for_sweep = PUT_SWEEP, for_expiry = PUT_EXPIRY;
  if (store->sweep_left > 0) reclaim_dead(store, &for_sweep);
  if (perigee_clock_read(store->clock) >= store->wheel_due_ms) reclaim_expired(store, &for_expiry);
}

PERIGEE_API int32_t perigee_store_step(perigee_store *store, int32_t budget) {
  int32_t for_sweep = budget;
  int more = reclaim_expired(store, &budget);
  return reclaim_dead(store, &for_sweep) || more;
}

PERIGEE_API double perigee_store_due_ms(const perigee_store *store) {
  if (store->sweep_left > 0) return 0;
  if (!store->wheel || store->wheel->total == 0) return __builtin_inf();
  return (double)store->wheel_due_ms;
}

PERIGEE_API void perigee_store_invalidate(perigee_store *store) {
  if (store->tagging) store->sweep_left = store->view.high;
}

PERIGEE_API int32_t perigee_store_clear(perigee_store *store) {
  if (store->epochs_unswept >= PERIGEE_IF_HARD(2, 127)) return PERIGEE_AGAIN;
  if (store->policy->settle) store->policy->settle(&store->order);
  store->usual_life = (store->usual_life + (1 << PERIGEE_EPOCH_SHIFT)) & PERIGEE_EPOCH_MASK;
  store->epochs_unswept++;
  store->live = 0;
  store->weight = 0;
  store->sweep_left = store->view.high;
  if (store->view.high == 0) store->epochs_unswept = 0;
  perigee_order_init(&store->order);
  if (store->wheel) perigee_wheel_reset(store->wheel, perigee_clock_read(store->clock));
  return 0;
}

static void set_limit(perigee_store *store, uint32_t limit) {
  store->limit = limit;
  store->order.limit = limit;
  if (store->policy->hears_hits && limit <= EQUIP_AT_ONCE) equip(store, limit);
}

PERIGEE_API int32_t perigee_store_resize(perigee_store *store, double max_entries) {
  uint32_t limit = max_entries < PERIGEE_UNBOUNDED ? (uint32_t)max_entries : PERIGEE_UNBOUNDED;
  while (perigee_store_indexed(store) > limit) {
    int32_t reason;
    if (!has_room_for_gone(store)) return PERIGEE_AGAIN;
    uint32_t slot = perigee_store_evict(store, &reason);
    perigee_store_give_up(store, slot, reason);
  }
  set_limit(store, limit);
  return 0;
}
