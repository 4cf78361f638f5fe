/* SPDX-License-Identifier: MIT
 *
 * flight.c: loads and their keys. The representation and its invariants stand in
 * flight_parts.h; waiting and deadlocks are in flight_wait.c.
 *
 * A key is (cache, space, word). The word keeps numbers and strings apart as NaN boxing does:
 * a number is its bits, a string is its address under the sign and exponent bits of a NaN that
 * no canonical number has.
 *
 * The life of a load, and what each step does to the chain of its key:
 *
 *     begin --> [joinable] --detach, or a newer begin--> [kept if it lands in time]
 *                   |                                          |
 *                   +----- land(succeeded): fences all older --+--> gone
 *                   |                                          |
 *                   +----- fence: leaves the chain at once ----+--> [fenced] --land--> gone
 */
#include "base/hash.h"
#include "core/flight_parts.h"

_Static_assert((int)PERIGEE_FLIGHT_SLOTS == (int)PERIGEE_POOL_MAX, "ids are made by pool.h");

#define STRING_TAG 0xFFF8000000000000ull
#define CANONICAL_NAN 0x7FF8000000000000ull

/* ---- Life ---- */

PERIGEE_API perigee_flight *perigee_flight_new(void) {
  perigee_flight *flight = perigee_zalloc(sizeof *flight);
  if (!flight) return NULL;
  if (perigee_lookup_init(&flight->index)) {
    perigee_dealloc(flight);
    return NULL;
  }
  perigee_pool_init(&flight->loads, sizeof(load));
  perigee_pool_init(&flight->waiters, sizeof(waiter));
  flight->seed = perigee_hash_random_seed();
  flight->first_waking = flight->last_waking = PERIGEE_POOL_NONE;
  flight->search = PERIGEE_IF_HARD(UINT32_MAX - 2, 0);
  return flight;
}

PERIGEE_API perigee_flight *perigee_flight_closed(void) {
  static _Thread_local perigee_flight *closed;
  if (!closed) closed = perigee_flight_new();
  return closed;
}

PERIGEE_API void perigee_flight_free(perigee_flight *flight) {
  if (!flight) return;
  perigee_flight_drop_cycles(flight);
  perigee_pool_fini(&flight->loads);
  perigee_pool_fini(&flight->waiters);
  perigee_lookup_fini(&flight->index);
  perigee_dealloc(flight);
}

/* ---- Keys ---- */

typedef struct key {
  uint64_t word;
  uint32_t cache, space, hash;
} key;

static inline uint64_t key_word(const char *s, double n) {
  if (s) return STRING_TAG | (uint64_t)(uintptr_t)s;
  if (n != n) return CANONICAL_NAN;
  uint64_t bits;
  n += 0.0; /* -0 becomes 0 */
  memcpy(&bits, &n, sizeof bits);
  return bits;
}

static inline key make_key(const perigee_flight *flight, uint32_t cache, uint32_t space,
                           const char *s, double n) {
  key key = {key_word(s, n), cache, space, 0};
  /* In a hard build keys collide: always those of other caches and spaces, often the others. */
  uint64_t scope = PERIGEE_IF_HARD(0, (uint64_t)cache << 32 | space);
  uint64_t hash = perigee_hash_word(key.word, flight->seed);
  hash = perigee_hash_fold(hash ^ scope, PERIGEE_HASH_K1);
  key.hash = (uint32_t)(hash & PERIGEE_IF_HARD(15, UINT32_MAX));
  return key;
}

/* The place in the index of the key's chain, or PERIGEE_POOL_NONE. */
static inline uint32_t find_chain(const perigee_flight *flight, const key *key) {
  const perigee_lookup *index = &flight->index;
  for (uint32_t at = perigee_lookup_first(index, key->hash); perigee_lookup_more(index, at);
       at = perigee_lookup_next(index, at)) {
    if (index->entries[at].hash != key->hash) continue;
    const load *load = load_at(flight, index->entries[at].number);
    if (load->word == key->word && load->cache == key->cache && load->space == key->space) {
      return at;
    }
  }
  return PERIGEE_POOL_NONE;
}

/* Fences `number` and all that are older; returns how many. The caller unlinks them. */
static int32_t fence_from(perigee_flight *flight, uint32_t number) {
  int32_t count = 0;
  for (; number != PERIGEE_POOL_NONE; number = load_at(flight, number)->older) {
    load_at(flight, number)->fenced = 1;
    load_at(flight, number)->joinable = 0;
    count++;
  }
  return count;
}

static void push_on_chain(perigee_flight *flight, const key *key, uint32_t number) {
  uint32_t at = find_chain(flight, key);
  if (at == PERIGEE_POOL_NONE) {
    perigee_lookup_insert(&flight->index, key->hash, number);
    return;
  }
  uint32_t older = flight->index.entries[at].number;
  flight->index.entries[at].number = number;
  load_at(flight, older)->newer = number;
  load_at(flight, older)->joinable = 0;
  load_at(flight, number)->older = older;
}

static void unlink_from_chain(perigee_flight *flight, uint32_t number) {
  load *gone = load_at(flight, number);
  if (gone->older != PERIGEE_POOL_NONE) load_at(flight, gone->older)->newer = gone->newer;
  if (gone->newer != PERIGEE_POOL_NONE) {
    load_at(flight, gone->newer)->older = gone->older;
    return;
  }
  uint32_t at = perigee_lookup_locate(&flight->index, gone->hash, number);
  if (gone->older != PERIGEE_POOL_NONE) {
    flight->index.entries[at].number = gone->older;
  } else {
    perigee_lookup_remove(&flight->index, at);
  }
}

/* ---- Loads ---- */

PERIGEE_API double perigee_flight_find(perigee_flight *flight, uint32_t cache, uint32_t space,
                                       const char *s, double n, double version) {
  key key = make_key(flight, cache, space, s, n);
  uint32_t at = find_chain(flight, &key);
  if (at == PERIGEE_POOL_NONE) return 0;
  uint32_t number = flight->index.entries[at].number;
  const load *newest = load_at(flight, number);
  if (!newest->joinable || newest->version != version) return 0;
  return perigee_pool_id(&flight->loads, number);
}

static void init_load(load *load, const key *key, double version) {
  load->word = key->word;
  load->version = version;
  load->cache = key->cache;
  load->space = key->space;
  load->hash = key->hash;
  load->runs = load->joinable = 1;
  load->fenced = 0;
  load->newer = load->older = PERIGEE_POOL_NONE;
  load->first_waiter = load->last_waiter = PERIGEE_POOL_NONE;
}

static void join_group(perigee_flight *flight, uint32_t number, uint32_t head) {
  load *load = load_at(flight, number);
  load->group = head != PERIGEE_POOL_NONE ? head : number;
  load->members = 0;
  load->movable = 1;
  load->outs = PERIGEE_POOL_NONE;
  load_at(flight, load->group)->members++;
}

PERIGEE_API double perigee_flight_begin(perigee_flight *flight, uint32_t cache, uint32_t space,
                                        const char *s, double n, double version, double group) {
  uint32_t head = group_of(flight, group);
  if (perigee_lookup_reserve(&flight->index)) return 0;
  uint32_t number = perigee_pool_take(&flight->loads);
  if (number == PERIGEE_POOL_NONE) return 0;
  key key = make_key(flight, cache, space, s, n);
  init_load(load_at(flight, number), &key, version);
  join_group(flight, number, head);
  push_on_chain(flight, &key, number);
  flight->running++;
  return perigee_pool_id(&flight->loads, number);
}

PERIGEE_API int32_t perigee_flight_fence(perigee_flight *flight, uint32_t cache, uint32_t space,
                                         const char *s, double n) {
  if (flight->index.count == 0) return 0;
  key key = make_key(flight, cache, space, s, n);
  uint32_t at = find_chain(flight, &key);
  if (at == PERIGEE_POOL_NONE) return 0;
  int32_t count = fence_from(flight, flight->index.entries[at].number);
  perigee_lookup_remove(&flight->index, at);
  return count;
}

PERIGEE_API void perigee_flight_detach(perigee_flight *flight, double id) {
  uint32_t number = running_load(flight, id);
  if (number != PERIGEE_POOL_NONE) load_at(flight, number)->joinable = 0;
}

/* One load of the group has landed: frees what nothing needs any more. */
static void leave_group(perigee_flight *flight, uint32_t number) {
  uint32_t head = load_at(flight, number)->group;
  if (number != head) perigee_pool_release(&flight->loads, number);
  if (--load_at(flight, head)->members > 0) return;
  perigee_flight_end_group(flight, head);
  perigee_pool_release(&flight->loads, head);
}

PERIGEE_API int32_t perigee_flight_land(perigee_flight *flight, double id, double version,
                                        int32_t succeeded) {
  uint32_t number = running_load(flight, id);
  if (number == PERIGEE_POOL_NONE) return 0;
  load *landed = load_at(flight, number);
  int32_t may_be_kept = !landed->fenced && landed->version == version;
  if (!landed->fenced) {
    if (succeeded && landed->older != PERIGEE_POOL_NONE) {
      fence_from(flight, landed->older);
      landed->older = PERIGEE_POOL_NONE;
    }
    unlink_from_chain(flight, number);
  }
  landed->runs = landed->joinable = 0;
  flight->running--;
  if (landed->first_waiter != PERIGEE_POOL_NONE) perigee_flight_wake_all(flight, number);
  leave_group(flight, number);
  return may_be_kept;
}

PERIGEE_API int32_t perigee_flight_is_running(perigee_flight *flight, double id) {
  return running_load(flight, id) != PERIGEE_POOL_NONE;
}

PERIGEE_API uint32_t perigee_flight_running(const perigee_flight *flight) {
  return flight->running;
}

/* ---- Checks ---- */

static const char *verify_load(const perigee_flight *flight, uint32_t number) {
  const load *load = load_at(flight, number);
  PERIGEE_VERIFY(perigee_pool_in_use(&flight->loads, load->group));
  PERIGEE_VERIFY(load_at(flight, load->group)->group == load->group);
  PERIGEE_VERIFY(load->runs || load->group == number);
  PERIGEE_VERIFY(!load->joinable ||
                 (load->runs && !load->fenced && load->newer == PERIGEE_POOL_NONE));
  PERIGEE_VERIFY(load->group != number || (load->members > 0 && load->movable >= 0));
  return NULL;
}

/* Counts the loads of a chain into `*linked`. */
static const char *verify_chain(const perigee_flight *flight, uint32_t at, uint32_t *linked) {
  const load *newest = load_at(flight, flight->index.entries[at].number);
  const char *s = NULL;
  double n;
  memcpy(&n, &newest->word, sizeof n);
  if (newest->word >= STRING_TAG) s = (const char *)(uintptr_t)(newest->word & ~STRING_TAG);
  key key = make_key(flight, newest->cache, newest->space, s, n);
  PERIGEE_VERIFY(key.hash == newest->hash && key.word == newest->word);
  PERIGEE_VERIFY(find_chain(flight, &key) == at);
  uint32_t newer = PERIGEE_POOL_NONE;
  for (uint32_t i = flight->index.entries[at].number; i != PERIGEE_POOL_NONE;) {
    const load *load = load_at(flight, i);
    PERIGEE_VERIFY(perigee_pool_in_use(&flight->loads, i) && load->runs && !load->fenced);
    PERIGEE_VERIFY(load->newer == newer && load->word == newest->word);
    PERIGEE_VERIFY(load->cache == newest->cache && load->space == newest->space);
    PERIGEE_VERIFY(load->hash == flight->index.entries[at].hash);
    PERIGEE_VERIFY(++*linked <= flight->running);
    newer = i;
    i = load->older;
  }
  return NULL;
}

static const char *verify_index(const perigee_flight *flight, uint32_t unfenced) {
  uint32_t linked = 0;
  const char *broken = perigee_lookup_verify(&flight->index);
  for (uint32_t at = 0; !broken && at <= flight->index.mask; at++) {
    if (perigee_lookup_more(&flight->index, at)) broken = verify_chain(flight, at, &linked);
  }
  if (broken) return broken;
  PERIGEE_VERIFY(linked == unfenced);
  return NULL;
}

PERIGEE_API const char *perigee_flight_verify(const perigee_flight *flight) {
  const char *broken = perigee_pool_verify(&flight->loads);
  uint32_t running = 0, unfenced = 0;
  /* Each load adds the fingerprint of its group, each head takes away one per member. */
  uint64_t fingerprint = 0;
  for (uint32_t i = 0; !broken && i < flight->loads.used; i++) {
    if (!perigee_pool_in_use(&flight->loads, i)) continue;
    const load *load = load_at(flight, i);
    broken = verify_load(flight, i);
    running += load->runs;
    unfenced += load->runs && !load->fenced;
    if (load->runs) fingerprint += perigee_hash_word(load->group, flight->seed);
    if (load->group == i) fingerprint -= load->members * perigee_hash_word(i, flight->seed);
  }
  if (broken) return broken;
  PERIGEE_VERIFY(running == flight->running);
  PERIGEE_VERIFY(fingerprint == 0);
  broken = verify_index(flight, unfenced);
  return broken ? broken : perigee_flight_verify_waiters(flight);
}
