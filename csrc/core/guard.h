/* SPDX-License-Identifier: MIT
 *
 * guard.h: tells an agent's spending without learning from honest work.
 *
 * The guard sees each call of a tool before it runs (check) and what came of it afterwards (record,
 * or refuse). Calls and results are 64-bit fingerprints: what makes two of them equal is the
 * caller's matter. Evidence is the pair: the same call with the same result taught nothing.
 *
 * The unit is a *round*, the calls in flight together, as a set: duplicates inside a round are one.
 * For each period p up to 16 it is known how long the tail of rounds equals itself p rounds
 * earlier, so a loop of any such period is found exactly; recurrence, stagnation and stall need no
 * period. The rules and their reasons: docs/design/0012-guard.md.
 *
 * Constant space, a bounded number of steps per call, no allocation once the tables have grown, and
 * the same verdicts for the same calls and times.
 */
#ifndef PERIGEE_GUARD_H
#define PERIGEE_GUARD_H

#include "base/base.h"

/* ffi: begin */
/* what is to be done with a call, mildest first */
enum {
  PERIGEE_GUARD_OK,
  PERIGEE_GUARD_WARN,
  PERIGEE_GUARD_REFRESH, /* run it, although the cache could answer */
  PERIGEE_GUARD_BLOCK,   /* refuse it */
  PERIGEE_GUARD_STOP,    /* refuse it, and whatever comes after it */
};

/* why */
enum {
  PERIGEE_GUARD_NOTHING,
  PERIGEE_GUARD_CYCLE,
  PERIGEE_GUARD_RECURRENCE,
  PERIGEE_GUARD_STAGNANT,
  PERIGEE_GUARD_ERROR,
  PERIGEE_GUARD_STALL,
  PERIGEE_GUARD_POLL,
  PERIGEE_GUARD_STICKY,
  PERIGEE_GUARD_BUDGET,
  PERIGEE_GUARD_REPEAT,
  PERIGEE_GUARD_DEPTH,
};

/* what a tool does */
enum {
  PERIGEE_GUARD_READ,
  PERIGEE_GUARD_WRITE,
  PERIGEE_GUARD_EXEC,
  PERIGEE_GUARD_POLLS,
};

/* Numbers of calls, but for poll_gap; HUGE_VAL switches a rule off. */
typedef struct perigee_guard_limits {
  double warn, block, stop;
  double recur_warn, recur_block;
  double stag_warn, stag_block;
  double err_warn, err_block;
  double stall_warn, stall_block;
  double poll_gap; /* seconds between calls from which on they are polling */
  double poll_block;
  double refresh_at;
  double veto_stop;
  double soft_calls, max_calls;
  double repeats;          /* identical calls */
  double depth;            /* calls */
  int32_t repeats_strict;  /* whatever they answered, else with the same answer */
  int32_t by_calls;        /* evidence is the call alone, and two periods are a loop */
  int32_t refresh_by_hits; /* refresh_at counts hits since it was executed, else equal answers */
} perigee_guard_limits;

typedef struct perigee_guard_call {
  uint64_t call;  /* fingerprint of the tool and its arguments */
  uint64_t tool;  /* of the tool */
  double now;     /* seconds */
  double round;   /* a number that the calls in flight together share; 0: it is alone */
  int32_t kind;   /* PERIGEE_GUARD_READ ... */
  int32_t cached; /* the cache would answer it */
  double pending; /* how many others were checked and are neither recorded nor refused yet */
} perigee_guard_call;

typedef struct perigee_guard_verdict {
  int32_t action, kind;
  uint32_t period;              /* rounds; 0: the rule knows none */
  uint32_t count;               /* what was counted, this call included */
  uint32_t loop_high, loop_low; /* 64 bits that tell one loop from another */
  double since;                 /* the number of the call that it began with, from 1 */
} perigee_guard_verdict;

/* of a result */
enum {
  PERIGEE_GUARD_IS_ERROR = 1,
  PERIGEE_GUARD_IS_TRANSIENT = 2, /* an error that may go away by itself */
  PERIGEE_GUARD_WAS_CACHED = 4,
};

typedef struct perigee_guard perigee_guard;

/* perigee_guard_default_limits: those of docs/design/0012-guard.md; no limit on repeats and depth. */
void perigee_guard_default_limits(perigee_guard_limits *limits);

/* Life. new returns NULL when memory is out. */
perigee_guard *perigee_guard_new(const perigee_guard_limits *limits);
void perigee_guard_free(perigee_guard *guard);

/* perigee_guard_check: what to do with a call, also as the verdict's action. Changes nothing. */
int32_t perigee_guard_check(const perigee_guard *guard, const perigee_guard_call *call,
                            perigee_guard_verdict *verdict);

/* perigee_guard_name: fills in the fingerprints of a call from the tool's name and its arguments,
 * which are `length` bytes of some `type`: equal bytes of different types are different arguments. */
void perigee_guard_name(perigee_guard_call *call, const char *tool, uint32_t tool_length,
                        const char *arguments, double length, int32_t type);

/* perigee_guard_print: the fingerprint of a result, likewise: a whole number below 2^53. */
double perigee_guard_print(const char *result, double length, int32_t type);

/* perigee_guard_record: the call gave a result of this fingerprint. perigee_guard_refuse: it was
 * refused, which counts as one more of the same. */
void perigee_guard_record(perigee_guard *guard, const perigee_guard_call *call, double result,
                          int32_t flags);
void perigee_guard_refuse(perigee_guard *guard, const perigee_guard_call *call);

/* perigee_guard_progress: the counts of repeats and depth begin again. reset: everything does. */
void perigee_guard_progress(perigee_guard *guard);
void perigee_guard_reset(perigee_guard *guard);

/* Looking at it. */
double perigee_guard_calls(const perigee_guard *guard);
double perigee_guard_stall(const perigee_guard *guard);
double perigee_guard_vetoes(const perigee_guard *guard);
double perigee_guard_streak(const perigee_guard *guard, const perigee_guard_call *call);
double perigee_guard_bytes(const perigee_guard *guard);

/* Snapshots. save writes at most `size` bytes and returns how many there are (call it with 0
 * first). restore takes bytes from anywhere: NULL and, in `why`, a static text if they are no
 * snapshot, or memory is out. Limits are not part of it. */
double perigee_guard_save(const perigee_guard *guard, char *bytes, double size);
perigee_guard *perigee_guard_restore(const perigee_guard_limits *limits, const char *bytes,
                                     double length, const char **why);

/* perigee_guard_seal: the checksum of a snapshot without its last 8 bytes, for who makes one. */
uint64_t perigee_guard_seal(const char *bytes, double length);

/* perigee_guard_verify: NULL, or what is broken. */
const char *perigee_guard_verify(const perigee_guard *guard);
/* ffi: end */

#endif
