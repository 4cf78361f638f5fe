/* SPDX-License-Identifier: MIT
 *
 * store.h: which keys live, until when, and which one goes next.
 *
 * The store maps (space, identity word) to a *slot*, a small number; Lua keeps the key (the
 * anchor) and the value of each slot in arrays of its own. A key is a string's address (LuaJIT
 * interns strings: while one is anchored its address is the key), a number, or the address of
 * perigee_core_bool(). The caller passes a string in `s`, or s == NULL and a number in `n`.
 *
 * Giving up slots. C never calls Lua. A call that forgets entries says so in the view:
 * `displaced` is the reason why the value that stood in the *returned* slot left (0: the slot
 * was empty), and `gone_count` further slots are gone, still anchored by Lua. For each: Lua takes
 * it with perigee_store_pop, takes its key and value and clears both, and hands it back with
 * perigee_store_release; only then may the slot be used again. So C forgets a key before Lua
 * drops its anchor. From pop to release Lua allocates nothing, since an allocation may run a
 * finalizer that uses this store.
 *
 * Slots returned are valid until the next call that may give up entries (put, del, step, ...).
 * Times are whole milliseconds of the clock given at birth. An entry may outlive its deadline by
 * `grace_ms` (it is *stale* then): only perigee_store_get and _find still show it.
 */
#ifndef PERIGEE_STORE_H
#define PERIGEE_STORE_H

#include "core/clock.h"
#include "core/tags.h"

/* ffi: begin */
enum {
  PERIGEE_POLICY_FIFO,
  PERIGEE_POLICY_LRU,
  PERIGEE_POLICY_SIEVE,
  PERIGEE_POLICY_S3FIFO,
  PERIGEE_POLICY_WTINYLFU,
  PERIGEE_POLICY_AUTO,
};

/* why a value left */
enum {
  PERIGEE_GONE_SIZE = 1,
  PERIGEE_GONE_EXPIRED,
  PERIGEE_GONE_REPLACED,
  PERIGEE_GONE_DELETED,
  PERIGEE_GONE_CLEARED,
  PERIGEE_GONE_INVALIDATED,
};

/* results of get, find, put */
enum {
  PERIGEE_MISS = -1,  /* get, find: not there.  put: not stored (no room, or too heavy) */
  PERIGEE_AGAIN = -2, /* put, resize: drain what is gone, then call again */
  PERIGEE_NO_MEMORY = -3,
  PERIGEE_STALE = -16, /* get, find: slot - STALE encodes a stale slot: PERIGEE_STALE - slot */
};

enum { PERIGEE_GONE_MAX = 64 };

typedef struct perigee_store_config {
  double max_entries; /* 0: store nothing; infinity: no bound */
  double max_weight;  /* infinity: entries are not weighed */
  double grace_ms;    /* how long an expired entry is kept as stale */
  double jitter;      /* 0..1: each lifetime is shortened by a random part of up to this */
  int32_t policy;
} perigee_store_config;

typedef struct perigee_store_view { /* what Lua reads without a call; owned by the store */
  int32_t displaced;
  int32_t gone_count;
  int32_t reason; /* why the slot popped last has gone */
  uint32_t high;  /* slots ever used: the next new slot */
  int32_t saved;  /* of what was displaced or popped last: whether a backup has it, */
  uint32_t space; /* and if so, whose key it was (tracked stores only) */
  uint64_t hits;
  uint64_t misses;
  uint64_t evictions;   /* entries given up for their size */
  uint64_t expirations; /* entries reclaimed after their deadline */
} perigee_store_view;

typedef struct perigee_space { /* the counters of one space; 0 has those of the view */
  uint32_t number;             /* what its living entries have */
  int32_t dropped;
  uint64_t hits;
  uint64_t misses;
  uint64_t evictions;
  uint64_t expirations;
} perigee_space;

typedef struct perigee_store perigee_store;

/* perigee_store_new: the store borrows the clock and becomes an owner of the tags, which may be
 * NULL if nothing is ever tagged. NULL: memory is out. */
perigee_store *perigee_store_new(const perigee_store_config *config, perigee_clock *clock,
                                 perigee_tags *tags);
void perigee_store_free(perigee_store *store);
perigee_store_view *perigee_store_get_view(perigee_store *store);
perigee_tags *perigee_store_get_tags(perigee_store *store); /* owned by the store, too */

/* perigee_store_get: the slot of a live entry of space 0; counts a hit and tells the policy. MISS
 * counts a miss. A stale entry gives PERIGEE_STALE - slot and counts nothing. */
int32_t perigee_store_get(perigee_store *store, const char *s, double n);

/* perigee_store_get_in: the same for a space of its own, whose counters it counts in, too. */
int32_t perigee_store_get_in(perigee_store *store, uint32_t space, const char *s, double n);

/* perigee_store_find: the same for any space, without counting or telling the policy. */
int32_t perigee_store_find(perigee_store *store, uint32_t space, const char *s, double n);

/* perigee_store_put: makes room and an entry for the key, untagged, for `ttl_ms` (infinity: for
 * ever). Returns its slot; the caller assigns key and value to it at once, with no allocation
 * in between. Negative results: see the enum. */
int32_t perigee_store_put(perigee_store *store, uint32_t space, const char *s, uint32_t length,
                          double n, double ttl_ms, double weight);

/* perigee_store_promote: tells the policy that the entry was used, without counting a hit. This
 * and perigee_store_tag do nothing to a slot whose entry has been forgotten meanwhile. */
void perigee_store_promote(perigee_store *store, int32_t slot);

/* perigee_store_tag: adds a tag to the entry just put. 0, or NO_MEMORY (entry unchanged). */
int32_t perigee_store_tag(perigee_store *store, int32_t slot, int32_t node);

/* perigee_store_reweigh: the live entry in a slot weighs something else now; others, or itself,
 * may have to go. 0, or AGAIN: drain, then call perigee_store_fit until it returns 0. */
int32_t perigee_store_reweigh(perigee_store *store, int32_t slot, double weight);
int32_t perigee_store_fit(perigee_store *store);

/* perigee_store_del: forgets a key; the slot is gone. 1: it was live or stale; 0: it was not. */
int32_t perigee_store_del(perigee_store *store, uint32_t space, const char *s, double n);

/* perigee_store_pop: one of the slots that are gone, `reason` says why; MISS: there is none. */
int32_t perigee_store_pop(perigee_store *store);

/* perigee_store_release: a popped slot has been cleared and may be used again. */
void perigee_store_release(perigee_store *store, int32_t slot);

/* perigee_store_count: corrects the counters of a space and of the whole, by so many. */
void perigee_store_count(perigee_store *store, uint32_t space, int32_t hits, int32_t misses);

/* perigee_store_closed: a store that holds nothing and is never freed: what a handle points to
 * once its own store is gone (finalizers of a closing Lua state run in any order). One per
 * thread. NULL: memory is out. */
perigee_store *perigee_store_closed(void);

/* perigee_store_touch: a new lifetime for a live entry. 1, or 0 if there is none. */
int32_t perigee_store_touch(perigee_store *store, uint32_t space, const char *s, double n,
                            double ttl_ms);

/* perigee_store_ttl: milliseconds left of a slot's entry; negative when stale. */
double perigee_store_ttl(perigee_store *store, int32_t slot);

/* perigee_store_next: the first live slot after `slot` (-1 to begin), or MISS at the end. */
int32_t perigee_store_next(perigee_store *store, int32_t slot);

/* perigee_store_size: live entries, expired ones not counted; entries whose tag was written or
 * whose space was cleared count until they are reclaimed. perigee_store_invalidated: how many of
 * those there are. */
double perigee_store_size(perigee_store *store);
double perigee_store_invalidated(perigee_store *store);
double perigee_store_weight(const perigee_store *store);

/* perigee_store_clear: forgets everything in O(1); slots come back by `step` and `put`. 0, or
 * AGAIN (rare: many clears and no step in between): step until it returns 0, then call again. */
int32_t perigee_store_clear(perigee_store *store);

/* perigee_store_new_space: a number, not 0, for keys that meet no others; 0: memory is out, or
 * there are 65,535 in use or not yet swept. */
uint32_t perigee_store_new_space(perigee_store *store);

/* perigee_store_drop_space: nobody uses it any more, under whatever number it had. */
void perigee_store_drop_space(perigee_store *store, uint32_t space);

/* perigee_store_get_space: its counters, until the next new space. perigee_store_space_size: its
 * live entries; looks at every slot. */
perigee_space *perigee_store_get_space(perigee_store *store, uint32_t space);
double perigee_store_space_size(perigee_store *store, uint32_t space);

/* perigee_store_clear_space: forgets what is in a space, in O(1). Returns the number that the
 * space has from now on, or 0: step until it returns 0, then call again. */
uint32_t perigee_store_clear_space(perigee_store *store, uint32_t space);

/* perigee_store_invalidate: a tag was written: look for entries that it killed. O(1). */
void perigee_store_invalidate(perigee_store *store);

/* perigee_store_step: reclaims expired and dead entries, looking at about `budget` of them.
 * 1: there is more to do now (or no more may be gone); 0: not before perigee_store_due_ms. */
int32_t perigee_store_step(perigee_store *store, int32_t budget);
double perigee_store_due_ms(const perigee_store *store); /* clock time; infinity: never */

/* Backups. A tracked store knows of each entry whether it has *changed* since it was saved, and of
 * each slot whether a backup holds a record of what is there: if that leaves, the view says so.
 *
 * perigee_store_track: tracks from now on; all that is there has changed. 0, or NO_MEMORY. */
int32_t perigee_store_track(perigee_store *store);

/* perigee_store_next_changed: the first live slot after `slot` that has changed, or MISS. */
int32_t perigee_store_next_changed(perigee_store *store, int32_t slot);

/* perigee_store_set_changed: the slot's entry is not what a backup has. _set_saved: it is, from
 * now on (1), or a backup has none of it (0). */
void perigee_store_set_changed(perigee_store *store, int32_t slot);
void perigee_store_set_saved(perigee_store *store, int32_t slot, int32_t saved);

/* perigee_store_assume_saved: 1: a backup may hold any key, and counts as holding those that are
 * put from now on. */
void perigee_store_assume_saved(perigee_store *store, int32_t assumed);

/* perigee_store_unsave: no backup holds anything. _resave: what backups hold is not known to be
 * what is here. _saved: how many slots a backup holds. */
void perigee_store_unsave(perigee_store *store);
void perigee_store_resave(perigee_store *store);
double perigee_store_saved(const perigee_store *store);

/* perigee_store_has_room: 1 if an entry can be put and none has to go for it. */
int32_t perigee_store_has_room(const perigee_store *store, double weight);

/* perigee_store_set_ttl: the exact lifetime of the entry just put, without jitter. */
void perigee_store_set_ttl(perigee_store *store, int32_t slot, double ttl_ms);

/* perigee_store_space: whose key a slot's is. */
uint32_t perigee_store_space(const perigee_store *store, int32_t slot);

/* perigee_store_resize: a new bound on entries. 0, or AGAIN. */
int32_t perigee_store_resize(perigee_store *store, double max_entries);

double perigee_store_bytes(const perigee_store *store); /* of native memory */
double perigee_store_mean_probes(const perigee_store *store);
const char *perigee_store_verify(perigee_store *store); /* NULL, or what is broken */
/* ffi: end */

#endif
