/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "core/clock.h"

#include <time.h>

static uint64_t advance_to_ms(perigee_clock *clock, int64_t ms) {
  ms += clock->offset_ms;
  if (ms > (int64_t)clock->now_ms) clock->now_ms = (uint64_t)ms;
  return clock->now_ms;
}

static uint64_t advance_to(perigee_clock *clock, const struct timespec *now) {
  return advance_to_ms(clock, (int64_t)now->tv_sec * 1000 + now->tv_nsec / 1000000);
}

uint64_t perigee_clock_read_machine(perigee_clock *clock) {
  struct timespec now;
  if (clock->host_ms) return advance_to_ms(clock, (int64_t)*clock->host_ms);
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return advance_to(clock, &now);
}

PERIGEE_API double perigee_clock_now(perigee_clock *clock) {
  return (double)perigee_clock_read(clock);
}

PERIGEE_API double perigee_clock_sync(perigee_clock *clock) {
  struct timespec now;
  if (clock->host_ms) return (double)perigee_clock_read_machine(clock) * 1e-3;
  clock_gettime(CLOCK_MONOTONIC, &now);
  advance_to(clock, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9 + (double)clock->offset_ms * 1e-3;
}

static double ms_of(clockid_t which) {
  struct timespec now;
  clock_gettime(which, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

PERIGEE_API double perigee_clock_machine(void) {
  return ms_of(CLOCK_MONOTONIC) * 1e-3;
}

PERIGEE_API double perigee_clock_wall_ms(perigee_clock *clock) {
  double ahead = (double)perigee_clock_read(clock) - ms_of(CLOCK_MONOTONIC);
  return ms_of(CLOCK_REALTIME) + ahead + clock->wall_offset_ms;
}
