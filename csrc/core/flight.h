/* SPDX-License-Identifier: MIT
 *
 * flight.h: which loads run, who waits for them, and whether a result may be kept.
 *
 * Terms. A *load* is one run of a loader for one key. The *joinable* load of a key is the one a
 * newcomer may wait for. A *waiter* is a ticket (an opaque number of the runtime) parked on a
 * load. A load is *fenced* when its key was written or forgotten while it ran: its callers get
 * the result, the cache does not keep it, nobody joins it any more (lease idea: Nishtala et
 * al., "Scaling Memcache at Facebook", NSDI 2013). A load is *superseded* when a fresh load of
 * the same key began after it: it may still be kept, unless the newer one succeeded first.
 * A *group* is a set of loads that one piece of work settles (a batch); its head stands for it.
 *
 * Who owns what. The registry owns loads and waiters; Lua holds ids only (positive numbers,
 * slot + generation: slot is id % PERIGEE_FLIGHT_SLOTS). A stale id is a failed look-up, never
 * an error. Nothing here runs a loader, holds a value or wakes anybody: Lua asks, runs, lands,
 * and pulls the tickets to wake. One registry per Lua state, shared by all its caches.
 *
 * Deadlock. Each group counts its tasks that can still move, and knows for which groups its
 * other tasks wait. A wait after which neither the waiter's group nor any group it hangs on
 * could ever move again is refused: it closes a cycle. A group with one task left that can
 * move, or that waits for something that can, is in no danger.
 */
#ifndef PERIGEE_FLIGHT_H
#define PERIGEE_FLIGHT_H

#include "base/base.h"

/* ffi: begin */
enum { PERIGEE_FLIGHT_SLOTS = 16777216 }; /* ids are generation * this + slot */

typedef struct perigee_flight perigee_flight;

/* Life. new returns NULL when memory is out. */
perigee_flight *perigee_flight_new(void);
void perigee_flight_free(perigee_flight *flight);

/* perigee_flight_closed: a registry that is never freed, for what runs after the end of its own
 * (finalizers of a closing Lua state). One per thread. NULL: memory is out. */
perigee_flight *perigee_flight_closed(void);

/* perigee_flight_find: the joinable load of (cache, space, key) that began under the same
 * `version` of the cache (its clear counter), or 0. A key is a string's address in `s`, or
 * s == NULL and the number `n`; the caller keeps the string alive while a load of it runs. */
double perigee_flight_find(perigee_flight *flight, uint32_t cache, uint32_t space, const char *s,
                           double n, double version);

/* perigee_flight_begin: registers a new load of the key and makes it the joinable one; an
 * older joinable load is superseded. `group` is 0 or stale (a load of its own) or the id of
 * the group's head, which stands for the group until all its loads have landed, even when it
 * has landed itself. A load of its own, and a group's head, begin with one task that can move
 * (the task that will run the loader). Returns its id, or 0 when memory is out. */
double perigee_flight_begin(perigee_flight *flight, uint32_t cache, uint32_t space, const char *s,
                            double n, double version, double group);

/* perigee_flight_fence: the key was written or forgotten: fences every load of it that runs.
 * Returns how many. (Clearing a cache needs no call: its version moved.) */
int32_t perigee_flight_fence(perigee_flight *flight, uint32_t cache, uint32_t space, const char *s,
                             double n);

/* perigee_flight_detach: nobody may join this load any more; it may still be kept. */
void perigee_flight_detach(perigee_flight *flight, double load);

/* perigee_flight_land: the load has ended. `version` is the cache's version now; `succeeded`
 * says that there is a value. Its waiters go to the wake list (see pull). Returns 1 if what
 * it brought may be kept (whatever `succeeded` says), 0 if not (fenced, cleared, outrun by a
 * newer load, or `load` is stale). A load that succeeded fences the older loads of its key. */
int32_t perigee_flight_land(perigee_flight *flight, double load, double version, int32_t succeeded);

/* perigee_flight_is_running: 1 while `load` has not landed. */
int32_t perigee_flight_is_running(perigee_flight *flight, double load);

/* Waiting. */

/* perigee_flight_wait: `ticket` (not 0) is about to park on `load`; its task runs for load
 * `runs_for` (0 or stale: for none), and counts as one that cannot move until it is put on the
 * wake list or leaves. Returns a waiter id; 0 when memory is out or `load` is not running; -1
 * when the wait would never end: perigee_flight_chain then tells the cycle. */
double perigee_flight_wait(perigee_flight *flight, double load, double ticket, double runs_for);

/* perigee_flight_leave: the waiter waits no longer (woken, out of patience, cancelled).
 * Returns 1 if it was woken because its wait would never end (chain tells the cycle), else 0.
 * Must be called once for each waiter id; a stale id is fine. */
int32_t perigee_flight_leave(perigee_flight *flight, double waiter);

/* perigee_flight_pull: the next ticket to wake, first come first; 0 when there is none. Those
 * who have left are not among them. */
double perigee_flight_pull(perigee_flight *flight);

/* perigee_flight_dismiss: the same, and the waiter leaves by that, which saves its task a call.
 * A negative ticket is that of a waiter who was woken because its wait would never end: it must
 * leave by itself, and be told. */
double perigee_flight_dismiss(perigee_flight *flight);

/* perigee_flight_chain: the i-th load (0-based) of the cycle that the last wait or leave found;
 * 0 past its end. First the load that the waiting task runs for (of a batch, the one that the
 * cycle comes back to), then the load it waits for, and so on. 0 at once if memory was out. */
double perigee_flight_chain(perigee_flight *flight, int32_t i);

/* perigee_flight_tasks: `delta` tasks more (or fewer) that run for `load` can move: +1 a task
 * was started for it or goes on, -1 it ended or waits for another task of the same load.
 * When that leaves a cycle in which nothing moves, its youngest waiter is put on the wake list
 * (leave then returns 1): pull afterwards. Where a task ends and thereby wakes one that waits
 * for it, count the one that goes on first. The count never falls below 0; a load with no
 * task counted and none waiting is taken for one that can move. A stale or zero `load` is
 * ignored. */
void perigee_flight_tasks(perigee_flight *flight, double load, int32_t delta);

/* Counting and checks. */
uint32_t perigee_flight_running(const perigee_flight *flight);   /* loads that have not landed */
uint32_t perigee_flight_waiting(const perigee_flight *flight);   /* waiters not yet left */
const char *perigee_flight_verify(const perigee_flight *flight); /* NULL, or what is broken */
/* ffi: end */

#endif
