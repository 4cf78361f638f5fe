/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "core/clock.h"

#include <time.h>

static uint64_t advance_to(perigee_clock *clock, const struct timespec *now) {
  int64_t ms = (int64_t)now->tv_sec * 1000 + now->tv_nsec / 1000000 + clock->offset_ms;
  if (ms > (int64_t)clock->now_ms) clock->now_ms = (uint64_t)ms;
  return clock->now_ms;
}

uint64_t perigee_clock_read_machine(perigee_clock *clock) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return advance_to(clock, &now);
}

PERIGEE_API double perigee_clock_now(perigee_clock *clock) {
  return (double)perigee_clock_read(clock);
}

PERIGEE_API double perigee_clock_sync(perigee_clock *clock) {
  struct timespec now;
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
