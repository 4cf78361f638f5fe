/* SPDX-License-Identifier: MIT
 *
 * flight_parts.h: the representation that flight.c (loads, keys) and flight_wait.c (waiters,
 * groups, deadlocks) share. Internal.
 *
 *     index: hash of key            loads: one chain per key, newest first
 *     +--------------+   +----------+  older   +------------+  older   +------------+
 *     | hash, number |-->| load 7   |--------->| load 3     |--------->| load 1     |
 *     +--------------+   | joinable |<---------| superseded |<---------| superseded |
 *                        +----------+  newer   +------------+  newer   +------------+
 *                          | waiters, first come first       | group = 9: a batch
 *                        [w4]-[w5]-[w8]                      v
 *                          |                      +----------------------+
 *                          | `group` = 9 . . . . .| load 9, the head:    |
 *                          | (w5's task runs      | members, movable,    |
 *                          |  for load 9)         | outs = [w5]          |
 *                                                 +----------------------+
 *
 * Invariants.
 *   - A load that runs and is not fenced is in the chain of its key, once; the index knows the
 *     newest of each chain and nothing else. A fenced load is in no chain.
 *   - Only the newest load of a chain can be joinable.
 *   - A group lives while one of its loads runs; its head's record is kept until then, and its
 *     id stands for the group even when the head itself has landed.
 *   - A waiter is in exactly one of: the list of its load (it waits), the list `waking` (its
 *     ticket is to be pulled), or no list (pulled, not yet left). While it waits and runs for
 *     a group that lives, it is one of the group's `outs`.
 *   - No group is dead (flight_wait.c).
 */
#ifndef PERIGEE_FLIGHT_PARTS_H
#define PERIGEE_FLIGHT_PARTS_H

#include "core/flight.h"
#include "core/lookup.h"

typedef struct load {
  perigee_pool_item item;
  uint64_t word; /* the key: see key_word in flight.c */
  double version;
  uint32_t cache, space, hash;
  uint8_t runs, joinable, fenced;
  uint32_t newer, older;              /* in the key's chain */
  uint32_t first_waiter, last_waiter; /* those who wait for it */
  uint32_t group;                     /* number of its group's head */

  /* Of the group; in a head. */
  uint32_t members; /* loads of the group that run */
  int32_t movable;  /* tasks that run for the group and wait for no load; never negative */
  uint32_t outs;    /* waiters that run for the group, youngest first */

  /* Scratch of the search for dead groups; in a head. */
  uint32_t mark;   /* == flight->search: seen in this search */
  uint32_t via;    /* the waiter over which it was reached */
  uint32_t queued; /* next in the search's queue */
} load;
_Static_assert(sizeof(load) == 88, "a load without waiters costs 88 bytes");

typedef enum { WAITER_WAITS, WAITER_WAKES, WAITER_PULLED } waiter_state;

typedef struct waiter {
  perigee_pool_item item;
  double ticket;
  uint64_t sequence;           /* the larger, the younger */
  uint32_t load;               /* number of the load; valid while it waits */
  uint32_t group;              /* number of the head it runs for, while in its outs; or none */
  uint32_t next, prev;         /* in the load's list or in `waking` */
  uint32_t next_out, prev_out; /* in the group's outs */
  uint8_t state, is_victim;    /* is_victim: woken because its wait would never end */
} waiter;
_Static_assert(sizeof(waiter) == 56, "a parked waiter costs 56 bytes");

/* The loads of a cycle that was found, for the one who is to tell of it. */
typedef struct cycle {
  struct cycle *next;
  uint32_t waiter; /* the victim that has not left yet */
  uint32_t count;
  double loads[];
} cycle;

struct perigee_flight {
  perigee_pool loads, waiters;
  perigee_lookup index;
  uint64_t seed;
  uint64_t sequence; /* of the youngest waiter */
  uint32_t running, waiting;
  uint32_t first_waking, last_waking;
  uint32_t search; /* number of the last search */
  cycle *found;    /* what perigee_flight_chain tells, or NULL */
  cycle *untold;   /* of the victims that have not left */
};

static inline load *load_at(const perigee_flight *flight, uint32_t number) {
  return (load *)(flight->loads.items + (size_t)number * sizeof(load));
}

static inline waiter *waiter_at(const perigee_flight *flight, uint32_t number) {
  return (waiter *)(flight->waiters.items + (size_t)number * sizeof(waiter));
}

/* running_load: the number of the load `id` if it has not landed, else PERIGEE_POOL_NONE. */
static inline uint32_t running_load(const perigee_flight *flight, double id) {
  uint32_t number = perigee_pool_find(&flight->loads, id);
  return number != PERIGEE_POOL_NONE && load_at(flight, number)->runs ? number : PERIGEE_POOL_NONE;
}

/* group_of: the number of the head of the group that load `id` belongs to, or PERIGEE_POOL_NONE. */
static inline uint32_t group_of(const perigee_flight *flight, double id) {
  uint32_t number = perigee_pool_find(&flight->loads, id);
  return number != PERIGEE_POOL_NONE ? load_at(flight, number)->group : PERIGEE_POOL_NONE;
}

/* In flight_wait.c. */

/* perigee_flight_wake_all: puts the waiters of a load that has landed on the wake list. */
void perigee_flight_wake_all(perigee_flight *flight, uint32_t number);

/* perigee_flight_end_group: what still runs for the group runs for nothing from now on. */
void perigee_flight_end_group(perigee_flight *flight, uint32_t head);

void perigee_flight_drop_cycles(perigee_flight *flight);
const char *perigee_flight_verify_waiters(const perigee_flight *flight);

#endif
