/* SPDX-License-Identifier: MIT
 *
 * clock.h: the one source of "now" for everything that expires.
 *
 * A clock is either *held* (a runtime sets it once per loop turn; reading it is one load) or
 * *running* (plain code without a loop: each reading asks CLOCK_MONOTONIC_COARSE, 2.6 ns, up
 * to one kernel tick late); in a host that keeps a clock of its own, that one is read. It never
 * goes backwards. The virtual clock of the tests moves `offset_ms`. One clock per Lua state; not
 * shared between threads.
 */
#ifndef PERIGEE_CLOCK_H
#define PERIGEE_CLOCK_H

#include "base/base.h"

/* ffi: begin */
typedef struct perigee_clock {
  uint64_t now_ms;       /* last time read or set: milliseconds, monotonic */
  int64_t offset_ms;     /* added to the machine's clock when running */
  int32_t held;          /* 1: now_ms counts as it stands; 0: each reading asks the machine */
  double wall_offset_ms; /* added to the machine's wall clock: tests of its jumps */
  /* The host's monotonic milliseconds, or NULL: the machine's; borrowed as long as the clock. */
  const volatile uint64_t *host_ms;
} perigee_clock;

/* perigee_clock_now: whole milliseconds, monotonic, as a number Lua can use. */
double perigee_clock_now(perigee_clock *clock);

/* perigee_clock_sync: moves `now_ms` to the machine's precise time, held or not; returns that
 * time in seconds with a fraction (the offset included). */
double perigee_clock_sync(perigee_clock *clock);

/* perigee_clock_machine: the machine's precise monotonic time in seconds, to measure work with. */
double perigee_clock_machine(void);

/* perigee_clock_wall_ms: the same instant as perigee_clock_now in milliseconds since 1970, for what
 * outlives the process. It may jump. */
double perigee_clock_wall_ms(perigee_clock *clock);
/* ffi: end */

/* perigee_clock_read: the same instant as perigee_clock_now, for C. */
uint64_t perigee_clock_read_machine(perigee_clock *clock);

static inline uint64_t perigee_clock_read(perigee_clock *clock) {
  return clock->held ? clock->now_ms : perigee_clock_read_machine(clock);
}

#endif
