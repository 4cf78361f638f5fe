/* SPDX-License-Identifier: MIT
 *
 * wheel.h: a hierarchical timing wheel over slots (Varghese and Lauck, SOSP 1987; the layout by
 * highest differing digit is that of William Ahern's timeout.c). Private to the core.
 *
 * Seven levels of 64 buckets cover 42 bits of milliseconds, 139 years. With `hand` the next
 * millisecond to be emptied, an entry with deadline d >= hand stands at the level of the highest
 * base-64 digit in which d and hand differ, in the bucket of d's digit there:
 *
 *   level 0  | . . . . x . . |   exact milliseconds of the hand's 64 ms
 *   level 1  | . . . . . x x |   64 ms each: spread over level 0 when the hand gets there
 *   ...
 *
 * A lower level is always due before a higher one. Spreading (cascading) is incremental: each
 * call looks at a bounded number of entries. The wheel only reclaims; whether an entry has
 * expired is decided by its deadline.
 *
 * With a grace, entries whose deadline has passed wait in a queue, the *stale* ones, oldest
 * deadline first, until their grace is over or somebody needs their place.
 */
#ifndef PERIGEE_WHEEL_H
#define PERIGEE_WHEEL_H

#include "core/entry.h"

enum { PERIGEE_WHEEL_LEVELS = 7, PERIGEE_WHEEL_BUCKETS = 64 };

#define PERIGEE_WHEEL_END (1ull << 42) /* no deadline may reach this */

typedef struct perigee_wheel_link {
  uint32_t next;
  uint32_t prev;
} perigee_wheel_link;

typedef struct perigee_wheel {
  perigee_wheel_link *links; /* one per slot, owned by the store's arrays */
  perigee_entry *entries;    /* borrowed: the level is kept in the entry's life */
  uint64_t grace_ms;         /* how long after its deadline an entry is due */
  uint64_t hand;
  uint64_t occupied[PERIGEE_WHEEL_LEVELS];
  uint32_t head[PERIGEE_WHEEL_LEVELS][PERIGEE_WHEEL_BUCKETS];
  uint32_t count[PERIGEE_WHEEL_LEVELS][PERIGEE_WHEEL_BUCKETS];
  uint32_t total; /* the stale ones, too */
  uint32_t stale;
  uint32_t stale_first;
  uint32_t stale_last;
} perigee_wheel;

/* Forgets every entry at once. */
void perigee_wheel_reset(perigee_wheel *wheel, uint64_t now_ms);

/* The entry's deadline must not change while it is in the wheel. */
void perigee_wheel_insert(perigee_wheel *wheel, uint32_t slot);
void perigee_wheel_remove(perigee_wheel *wheel, uint32_t slot);

/* A slot that is due at `now_ms` (the caller removes it), or PERIGEE_NONE. Takes one from
 * `*budget` per entry looked at and stops at 0. What is stale afterwards but not yet due stands
 * in the queue from `stale_first` on, as far as the budget went. */
uint32_t perigee_wheel_next(perigee_wheel *wheel, uint64_t now_ms, int32_t *budget);

/* When next will find something to do; UINT64_MAX when the wheel is empty. */
uint64_t perigee_wheel_due_ms(const perigee_wheel *wheel);

/* How many entries have a deadline at or before `now_ms`. Adds up buckets; walks one a level. */
uint32_t perigee_wheel_expired(const perigee_wheel *wheel, uint64_t now_ms);

const char *perigee_wheel_verify(const perigee_wheel *wheel);

#endif
