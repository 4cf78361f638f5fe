/* SPDX-License-Identifier: MIT
 *
 * A binary heap in an array, with the way back from an owner to its place:
 *
 *   heap:      [ {due, order, owner} ... ]     parent of i is (i - 1) / 2, never due later
 *   position:  [ place + 1, or 0 ]             by owner
 */
#include "rt/timers.h"

#include <math.h>

struct perigee_timer {
  double deadline;
  uint64_t order;
  uint32_t owner;
};

void perigee_timers_init(perigee_timers *timers) {
  *timers = (perigee_timers){0};
}

void perigee_timers_fini(perigee_timers *timers) {
  perigee_dealloc(timers->heap);
  perigee_dealloc(timers->position);
  perigee_timers_init(timers);
}

int perigee_timers_reserve(perigee_timers *timers, uint32_t owners) {
  uint32_t capacity = timers->owners;
  if (perigee_grow((void **)&timers->heap, &timers->capacity, owners, sizeof *timers->heap)) {
    return -1;
  }
  if (perigee_grow((void **)&timers->position, &capacity, owners, sizeof *timers->position)) {
    return -1;
  }
  for (uint32_t i = timers->owners; i < capacity; i++) timers->position[i] = 0;
  timers->owners = capacity;
  return 0;
}

static int is_before(const struct perigee_timer *a, const struct perigee_timer *b) {
  return a->deadline < b->deadline || (a->deadline == b->deadline && a->order < b->order);
}

static void place(perigee_timers *timers, uint32_t at, struct perigee_timer timer) {
  timers->heap[at] = timer;
  timers->position[timer.owner] = at + 1;
}

static void sift_up(perigee_timers *timers, uint32_t at, struct perigee_timer timer) {
  while (at > 0) {
    uint32_t parent = (at - 1) / 2;
    if (!is_before(&timer, &timers->heap[parent])) break;
    place(timers, at, timers->heap[parent]);
    at = parent;
  }
  place(timers, at, timer);
}

static void sift_down(perigee_timers *timers, uint32_t at, struct perigee_timer timer) {
  for (;;) {
    uint32_t child = 2 * at + 1;
    if (child >= timers->count) break;
    if (child + 1 < timers->count && is_before(&timers->heap[child + 1], &timers->heap[child])) {
      child++;
    }
    if (!is_before(&timers->heap[child], &timer)) break;
    place(timers, at, timers->heap[child]);
    at = child;
  }
  place(timers, at, timer);
}

void perigee_timers_start(perigee_timers *timers, uint32_t owner, double deadline) {
  perigee_timers_stop(timers, owner);
  struct perigee_timer timer = {deadline, timers->started++, owner};
  sift_up(timers, timers->count++, timer);
}

void perigee_timers_stop(perigee_timers *timers, uint32_t owner) {
  uint32_t position = timers->position[owner];
  if (position == 0) return;
  uint32_t at = position - 1;
  timers->position[owner] = 0;
  struct perigee_timer last = timers->heap[--timers->count];
  if (at == timers->count) return;
  if (at > 0 && is_before(&last, &timers->heap[(at - 1) / 2])) {
    sift_up(timers, at, last);
  } else {
    sift_down(timers, at, last);
  }
}

double perigee_timers_next(const perigee_timers *timers) {
  return timers->count ? timers->heap[0].deadline : INFINITY;
}

int64_t perigee_timers_pop(perigee_timers *timers, double now) {
  if (timers->count == 0 || timers->heap[0].deadline > now) return -1;
  uint32_t owner = timers->heap[0].owner;
  perigee_timers_stop(timers, owner);
  return owner;
}

const char *perigee_timers_verify(const perigee_timers *timers) {
  uint32_t placed = 0;
  PERIGEE_VERIFY(timers->count <= timers->capacity && timers->count <= timers->owners);
  for (uint32_t i = 0; i < timers->count; i++) {
    const struct perigee_timer *timer = &timers->heap[i];
    PERIGEE_VERIFY(timer->owner < timers->owners);
    PERIGEE_VERIFY(timers->position[timer->owner] == i + 1);
    PERIGEE_VERIFY(timer->order < timers->started);
    PERIGEE_VERIFY(i == 0 || !is_before(timer, &timers->heap[(i - 1) / 2]));
  }
  for (uint32_t owner = 0; owner < timers->owners; owner++) {
    placed += timers->position[owner] != 0;
  }
  PERIGEE_VERIFY(placed == timers->count);
  return NULL;
}
