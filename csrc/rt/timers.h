/* SPDX-License-Identifier: MIT
 *
 * timers.h: deadlines, earliest first; among equals, first come first.
 *
 * A timer is known by its owner, a small number (a ticket's slot); an owner has at most one.
 * Time is whatever the caller counts in: a virtual clock works as well as a real one.
 */
#ifndef PERIGEE_TIMERS_H
#define PERIGEE_TIMERS_H

#include "base/base.h"

typedef struct perigee_timers {
  struct perigee_timer *heap; /* heap[0] is due first */
  uint32_t count, capacity;
  uint32_t *position; /* by owner: 1 + its place in the heap, 0 when it has no timer */
  uint32_t owners;
  uint64_t started; /* how many timers were ever started: the order among equals */
} perigee_timers;

void perigee_timers_init(perigee_timers *timers);
void perigee_timers_fini(perigee_timers *timers);

/* perigee_timers_reserve: makes room for owners 0 .. owners - 1, so that start cannot fail.
 * Returns 0, or -1 when memory is out. */
int perigee_timers_reserve(perigee_timers *timers, uint32_t owners);

/* perigee_timers_start: (re)starts the timer of a reserved owner. */
void perigee_timers_start(perigee_timers *timers, uint32_t owner, double deadline);

/* perigee_timers_stop: forgets the owner's timer, if it has one. */
void perigee_timers_stop(perigee_timers *timers, uint32_t owner);

/* perigee_timers_next: the earliest deadline; infinity when there is none. */
double perigee_timers_next(const perigee_timers *timers);

/* perigee_timers_pop: takes the earliest timer if it is due at `now`; its owner, or -1. */
int64_t perigee_timers_pop(perigee_timers *timers, double now);

const char *perigee_timers_verify(const perigee_timers *timers);

#endif
