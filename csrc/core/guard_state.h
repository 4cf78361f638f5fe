/* SPDX-License-Identifier: MIT
 *
 * guard_state.h: what a guard remembers. Internal: shared by the rules and the snapshots.
 */
#ifndef PERIGEE_GUARD_STATE_H
#define PERIGEE_GUARD_STATE_H

#include "base/hash.h"
#include "core/guard.h"
#include "core/novelty.h"
#include "core/recent.h"

enum {
  PERIGEE_GUARD_PERIODS = 16,
  PERIGEE_GUARD_RING = 32, /* a power of two, above PERIODS */
  PERIGEE_GUARD_KEYS = 256,
  PERIGEE_GUARD_TOOLS = 64,
};

/* A round: sums over its calls, so that their order does not matter. */
typedef struct perigee_guard_unit {
  uint64_t calls;   /* of the calls */
  uint64_t results; /* of the calls with their results */
} perigee_guard_unit;

/* One call, by its fingerprint. A *streak* is a row of equal answers to it. Times are numbers of
 * calls, from 1; 0: never. */
typedef struct perigee_guard_key {
  perigee_recent_item item;
  uint64_t result;
  double last_t;      /* seconds */
  uint32_t units;     /* bit k: it was in unit last_unit - k */
  uint32_t last_unit; /* 0: in none yet */
  uint32_t first;     /* when its streak began */
  uint32_t last;
  uint32_t vetoed; /* when it was refused */
  uint32_t total;  /* calls since `counted_from` */
  uint32_t counted_from;
  uint16_t streak;
  uint8_t fresh : 7;     /* of them executed, as far as 127 */
  uint8_t transient : 1; /* its last answer was an error that may go away */
  uint8_t hits;          /* of them, those since the last one that was executed, as far as 255 */
} perigee_guard_key;

typedef struct perigee_guard_tool {
  perigee_recent_item item;
  uint64_t result, error; /* the last ones */
  uint64_t call;
  uint32_t run_first, error_first; /* when the rows began */
  uint16_t run;                    /* different calls in a row with the same answer */
  uint16_t errors;                 /* equal errors in a row, none of them transient */
  uint32_t failed;                 /* its last answer was an error */
} perigee_guard_tool;

struct perigee_guard {
  perigee_guard_limits limits;
  perigee_recent keys, tools;
  perigee_novelty seen; /* pairs of call and result */

  perigee_guard_unit ring[PERIGEE_GUARD_RING]; /* unit u stands at u % RING */
  uint32_t units;                              /* how many there were; the last one may be open */
  double round;                                /* of the last unit; 0: it is closed */
  uint32_t tails[PERIGEE_GUARD_PERIODS + 1];   /* [p]: so many units equal those p units earlier */
  uint32_t before[PERIGEE_GUARD_PERIODS + 1];  /* the same without the last unit */

  uint32_t calls, stall, vetoes;
  uint32_t change_at, write_at, progress_at; /* a changed answer; a new write; anything new */
  uint32_t counted_from;                     /* repeats and depth count from here */
};

#define PERIGEE_GUARD_SEED 0x5eedu

static inline uint64_t perigee_guard_mix(uint64_t word) {
  return perigee_hash_word(word, PERIGEE_GUARD_SEED);
}

/* Whether a call belongs to the last unit. */
static inline int perigee_guard_joins(const perigee_guard *guard, const perigee_guard_call *call) {
  return call->round != 0 && call->round == guard->round;
}

/* Wide spacing is polling: so many seconds for each call since the last one like this. `key` may be
 * NULL. */
static inline int perigee_guard_polls(const perigee_guard *guard, const perigee_guard_call *call,
                                      const perigee_guard_key *key) {
  if (call->kind == PERIGEE_GUARD_POLLS) return 1;
  if (!key) return 0;
  double calls = (double)guard->calls + 1 - key->last;
  return call->now - key->last_t >= guard->limits.poll_gap * calls;
}

/* Bit p, for p in 1 .. PERIODS: the call was in the unit p units before `unit`. */
static inline uint32_t perigee_guard_periods(const perigee_guard_key *key, uint32_t unit) {
  uint32_t ago = unit - key->last_unit;
  if (key->last_unit == 0 || ago > PERIGEE_GUARD_PERIODS) return 0;
  return key->units << ago & ((2u << PERIGEE_GUARD_PERIODS) - 2);
}

void perigee_guard_init(perigee_guard *guard, const perigee_guard_limits *limits);

#endif
