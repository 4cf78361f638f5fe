/* SPDX-License-Identifier: MIT
 *
 * store_state.h: the inside of a store, shared by store.c (reading), store_write.c and
 * reclaim.c (giving up).
 * Private to the core.
 *
 *   index ──► slot ──► entries[slot]   16 bytes, hot            always
 *                      nodes[slot]     16 bytes                 always
 *                      links[slot]      8 bytes, timing wheel    from the first deadline on
 *                      tagging[slot]   16 bytes, stamp and tags  from the first tag on
 *                      weights[slot]    8 bytes                  when max_weight is finite
 *                      tracks[slot]     1 byte                   when there is a backup
 *
 * A slot is in one of four places: never used (>= view.high), on the free list, indexed, or gone
 * (forgotten here, still anchored by Lua). `used` counts the last two.
 *
 * Clearing moves the epoch on: entries of another epoch are dead at once, stand in no queue and no
 * wheel any more, and are found by the sweep, which walks the slots once around after each clear
 * or invalidation. An epoch number is used again only after a sweep has finished since.
 *
 * A space's number is its place in `spaces` and, above 16 bits, how often it was cleared. Entries
 * of an earlier number are dead and stay where they are until they are swept or evicted.
 */
#ifndef PERIGEE_STORE_STATE_H
#define PERIGEE_STORE_STATE_H

#include "core/index.h"
#include "core/policy.h"
#include "core/store.h"
#include "core/wheel.h"

#define PERIGEE_UNBOUNDED (UINT32_MAX - 1)

enum { PERIGEE_CHANGED = 1, PERIGEE_SAVED = 2 };

typedef struct perigee_entry_tags {
  uint64_t stamp; /* version of the tags under which the entry was last found valid */
  uint32_t first; /* into tag_links, or PERIGEE_NONE */
} perigee_entry_tags;

typedef struct perigee_tag_link {
  int32_t node;
  uint32_t next; /* the entry's next tag, or the next free link */
} perigee_tag_link;

struct perigee_store {
  /* What a hit reads. */
  perigee_index index;
  perigee_entry *entries;
  perigee_clock *clock;
  uint64_t usual_life; /* the epoch of live entries, in place; not tagged, not spaced */
  perigee_order order; /* order.heed_below, first of all */
  perigee_store_view view;

  perigee_node *nodes;
  perigee_tags *tags;
  perigee_entry_tags *tagging;
  const perigee_policy *policy;

  perigee_wheel *wheel;
  double *weights;
  uint8_t *tracks; /* PERIGEE_CHANGED | PERIGEE_SAVED */
  uint8_t written; /* what a write makes of them */
  double weight;
  double max_weight;
  double jitter;
  uint64_t grace_ms;
  uint64_t wheel_due_ms; /* before this time nothing can be due in the wheel */
  uint64_t seed;
  uint64_t random;

  uint32_t capacity; /* slots that the arrays can hold */
  uint32_t used;     /* slots indexed, gone or popped */
  uint32_t popped;   /* slots that Lua is clearing */
  uint32_t limit;    /* bound on `used`; PERIGEE_UNBOUNDED for none */
  uint32_t live;     /* indexed entries of this epoch */
  uint32_t free;     /* free slots, linked by `newer` */

  perigee_tag_link *tag_links;
  uint32_t tag_link_capacity;
  uint32_t tag_link_used;
  uint32_t tag_link_free;

  perigee_space *spaces; /* by the low half of a space's number; the first is not used */
  perigee_space nowhere; /* stands for spaces that a closed store does not know */
  uint32_t space_count;
  uint32_t space_capacity;
  uint32_t spaces_unswept; /* clears of one space since a sweep last finished */

  uint32_t gone_slot[PERIGEE_GONE_MAX];
  int32_t gone_reason[PERIGEE_GONE_MAX];

  uint32_t sweep_at;
  uint32_t sweep_left;
  uint32_t epochs_unswept; /* clears since a sweep last finished */
};

static inline uint32_t perigee_store_indexed(const perigee_store *store) {
  return store->used - (uint32_t)store->view.gone_count - store->popped;
}

static inline uint32_t perigee_store_slot(const perigee_store *store, uint32_t space,
                                          uint64_t word) {
  return perigee_index_find(&store->index, store->entries, store->nodes, space, word);
}

static inline perigee_space *perigee_store_space_of(perigee_store *store, uint32_t space) {
  uint32_t at = space & 0xFFFF;
  return at < store->space_count ? &store->spaces[at] : &store->nowhere;
}

static inline int perigee_store_is_current(const perigee_store *store, const perigee_entry *entry) {
  return ((entry->life ^ store->usual_life) & PERIGEE_EPOCH_MASK) == 0;
}

/* The entry in a slot was written. */
static inline void perigee_store_track_write(perigee_store *store, uint32_t slot) {
  if (store->tracks) store->tracks[slot] |= store->written;
}

/* What was in a slot leaves it, if there was anything: the view says whether a backup has it. */
static inline void perigee_store_track_leave(perigee_store *store, uint32_t slot) {
  if (!store->tracks) return;
  store->view.saved = (store->tracks[slot] & PERIGEE_SAVED) != 0;
  if (store->view.saved)
    store->view.space = perigee_entry_space(&store->entries[slot], &store->nodes[slot]);
  store->tracks[slot] = 0;
}

/* Counts an entry that was evicted or has expired. */
static inline void perigee_store_count_eviction(perigee_store *store, uint32_t slot) {
  uint32_t space = perigee_entry_space(&store->entries[slot], &store->nodes[slot]);
  store->view.evictions++;
  if (space) perigee_store_space_of(store, space)->evictions++;
}

static inline void perigee_store_count_expiry(perigee_store *store, uint32_t slot) {
  uint32_t space = perigee_entry_space(&store->entries[slot], &store->nodes[slot]);
  store->view.expirations++;
  if (space) perigee_store_space_of(store, space)->expirations++;
}

/* store.c */

/* Makes room for more slots. 0, or -1 when memory is out. */
int perigee_store_more_slots(perigee_store *store);

/* Whether a slot holds an entry that is neither dead nor expired. */
int perigee_store_is_live(perigee_store *store, uint32_t slot);

/* reclaim.c */

/* The small part of reclaiming that each put does on its way. */
void perigee_store_reclaim_some(perigee_store *store);

/* Takes an indexed entry's tags away. */
void perigee_store_untag(perigee_store *store, uint32_t slot);

/* Whether a tagged entry's tags are all still valid; restamps it if so. */
int perigee_store_tags_valid(perigee_store *store, uint32_t slot);

/* Why the entry of an indexed slot is dead (PERIGEE_GONE_…), or 0. Does not ask the clock. */
int32_t perigee_store_why_dead(perigee_store *store, uint32_t slot);

/* Takes an indexed slot out of every structure. The caller reuses it or gives it up. */
void perigee_store_forget(perigee_store *store, uint32_t slot);

/* Says that a forgotten slot has gone; there must be room. */
void perigee_store_give_up(perigee_store *store, uint32_t slot, int32_t reason);

/* Forgets one entry to make room: expired ones first, stale ones among them, then dead ones, then
 * the policy's victim. Returns its slot and the reason, or PERIGEE_NONE: nothing is indexed. */
uint32_t perigee_store_evict(perigee_store *store, int32_t *reason);

#endif
