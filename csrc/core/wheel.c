/* SPDX-License-Identifier: MIT */
#include "core/wheel.h"

#include <string.h>

enum { DIGIT_BITS = 6, DIGIT_MASK = 63, STALE_LEVEL = PERIGEE_WHEEL_LEVELS };

static uint32_t level_of(uint64_t due, uint64_t hand) {
  uint64_t differing = due ^ hand;
  return differing ? (uint32_t)(63 - __builtin_clzll(differing)) / DIGIT_BITS : 0;
}

static uint32_t digit_of(uint64_t time, uint32_t level) {
  return (time >> (level * DIGIT_BITS)) & DIGIT_MASK;
}

static uint64_t deadline_of(const perigee_wheel *wheel, uint32_t slot) {
  return perigee_entry_deadline(&wheel->entries[slot]);
}

static uint32_t entry_level(const perigee_wheel *wheel, uint32_t slot) {
  return (wheel->entries[slot].life & PERIGEE_LEVEL_MASK) >> PERIGEE_LEVEL_SHIFT;
}

/* The first millisecond of a bucket, given the hand's higher digits. */
static uint64_t bucket_start(const perigee_wheel *wheel, uint32_t level, uint32_t bucket) {
  uint32_t shift = level * DIGIT_BITS;
  uint64_t higher = wheel->hand >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS);
  return higher | (uint64_t)bucket << shift;
}

void perigee_wheel_reset(perigee_wheel *wheel, uint64_t now_ms) {
  memset(wheel->occupied, 0, sizeof wheel->occupied);
  memset(wheel->head, 0xFF, sizeof wheel->head);
  memset(wheel->count, 0, sizeof wheel->count);
  wheel->total = wheel->stale = 0;
  wheel->stale_first = wheel->stale_last = PERIGEE_NONE;
  wheel->hand = now_ms;
}

static void link_slot(perigee_wheel *wheel, uint32_t level, uint32_t bucket, uint32_t slot) {
  uint32_t *head = &wheel->head[level][bucket];
  wheel->links[slot] = (perigee_wheel_link){.next = *head, .prev = PERIGEE_NONE};
  if (*head != PERIGEE_NONE) wheel->links[*head].prev = slot;
  *head = slot;
  wheel->occupied[level] |= 1ull << bucket;
  wheel->count[level][bucket]++;
  perigee_entry_mark(&wheel->entries[slot], PERIGEE_LEVEL_MASK, level << PERIGEE_LEVEL_SHIFT);
}

static void unlink_slot(perigee_wheel *wheel, uint32_t level, uint32_t bucket, uint32_t slot) {
  perigee_wheel_link link = wheel->links[slot];
  if (link.next != PERIGEE_NONE) wheel->links[link.next].prev = link.prev;
  if (link.prev != PERIGEE_NONE)
    wheel->links[link.prev].next = link.next;
  else
    wheel->head[level][bucket] = link.next;
  if (--wheel->count[level][bucket] == 0) wheel->occupied[level] &= ~(1ull << bucket);
}

static void place(perigee_wheel *wheel, uint32_t slot) {
  uint64_t deadline = deadline_of(wheel, slot);
  uint32_t level = level_of(deadline, wheel->hand);
  link_slot(wheel, level, digit_of(deadline, level), slot);
}

static void stale_push(perigee_wheel *wheel, uint32_t slot) {
  wheel->links[slot] = (perigee_wheel_link){.next = PERIGEE_NONE, .prev = wheel->stale_last};
  if (wheel->stale_last != PERIGEE_NONE)
    wheel->links[wheel->stale_last].next = slot;
  else
    wheel->stale_first = slot;
  wheel->stale_last = slot;
  wheel->stale++;
  perigee_entry_mark(&wheel->entries[slot], PERIGEE_LEVEL_MASK, STALE_LEVEL << PERIGEE_LEVEL_SHIFT);
}

static void stale_remove(perigee_wheel *wheel, uint32_t slot) {
  perigee_wheel_link link = wheel->links[slot];
  if (link.next != PERIGEE_NONE)
    wheel->links[link.next].prev = link.prev;
  else
    wheel->stale_last = link.prev;
  if (link.prev != PERIGEE_NONE)
    wheel->links[link.prev].next = link.next;
  else
    wheel->stale_first = link.next;
  wheel->stale--;
}

void perigee_wheel_insert(perigee_wheel *wheel, uint32_t slot) {
  place(wheel, slot);
  wheel->total++;
}

void perigee_wheel_remove(perigee_wheel *wheel, uint32_t slot) {
  uint32_t level = entry_level(wheel, slot);
  wheel->total--;
  if (level == STALE_LEVEL)
    stale_remove(wheel, slot);
  else
    unlink_slot(wheel, level, digit_of(deadline_of(wheel, slot), level), slot);
}

/* Finds the bucket that is due first: the first occupied one of the lowest occupied level. At
 * a level above 0, the bucket of the hand's own digit is one whose spreading is unfinished, and
 * comes before everything below it. Returns 0 when the wheel is empty. */
static int first_bucket(const perigee_wheel *wheel, uint32_t *level, uint32_t *bucket) {
  for (uint32_t l = PERIGEE_WHEEL_LEVELS - 1; l > 0; l--) {
    uint32_t digit = digit_of(wheel->hand, l);
    if (wheel->occupied[l] >> digit & 1) {
      *level = l;
      *bucket = digit;
      return 1;
    }
  }
  for (uint32_t l = 0; l < PERIGEE_WHEEL_LEVELS; l++) {
    if (!wheel->occupied[l]) continue;
    *level = l;
    *bucket = (uint32_t)__builtin_ctzll(wheel->occupied[l]);
    return 1;
  }
  return 0;
}

/* Moves entries of a bucket above level 0 down, as far as the budget goes. */
static void spread(perigee_wheel *wheel, uint32_t level, uint32_t bucket, int32_t *budget) {
  while (*budget > 0 && wheel->head[level][bucket] != PERIGEE_NONE) {
    uint32_t slot = wheel->head[level][bucket];
    unlink_slot(wheel, level, bucket, slot);
    place(wheel, slot);
    --*budget;
  }
}

/* The next entry in the buckets whose deadline is at or before `now_ms`, or PERIGEE_NONE. */
static uint32_t next_expired(perigee_wheel *wheel, uint64_t now_ms, int32_t *budget) {
  uint32_t level, bucket;
  while (*budget > 0 && first_bucket(wheel, &level, &bucket)) {
    uint64_t start = bucket_start(wheel, level, bucket);
    if (start > now_ms) break;
    if (start > wheel->hand) wheel->hand = start;
    if (level == 0) {
      --*budget;
      return wheel->head[0][bucket];
    }
    spread(wheel, level, bucket, budget);
  }
  if (*budget > 0 && now_ms > wheel->hand) wheel->hand = now_ms;
  return PERIGEE_NONE;
}

uint32_t perigee_wheel_next(perigee_wheel *wheel, uint64_t now_ms, int32_t *budget) {
  uint32_t slot;
  if (wheel->grace_ms == 0) return next_expired(wheel, now_ms, budget);
  while ((slot = next_expired(wheel, now_ms, budget)) != PERIGEE_NONE) {
    unlink_slot(wheel, 0, digit_of(deadline_of(wheel, slot), 0), slot);
    stale_push(wheel, slot);
  }
  slot = wheel->stale_first;
  if (slot == PERIGEE_NONE || deadline_of(wheel, slot) + wheel->grace_ms > now_ms)
    return PERIGEE_NONE;
  --*budget;
  return slot;
}

uint64_t perigee_wheel_due_ms(const perigee_wheel *wheel) {
  uint32_t level, bucket;
  uint64_t due = UINT64_MAX;
  if (first_bucket(wheel, &level, &bucket)) {
    uint64_t start = bucket_start(wheel, level, bucket);
    due = start > wheel->hand ? start : wheel->hand;
  }
  if (wheel->stale == 0) return due;
  uint64_t over = deadline_of(wheel, wheel->stale_first) + wheel->grace_ms;
  return over < due ? over : due;
}

static uint32_t walk_expired(const perigee_wheel *wheel, uint32_t head, uint64_t now_ms) {
  uint32_t expired = 0;
  for (uint32_t slot = head; slot != PERIGEE_NONE; slot = wheel->links[slot].next)
    if (deadline_of(wheel, slot) <= now_ms) expired++;
  return expired;
}

static uint32_t expired_in_bucket(const perigee_wheel *wheel, uint32_t level, uint32_t bucket,
                                  uint64_t now_ms) {
  uint64_t start = bucket_start(wheel, level, bucket);
  uint64_t last = start + (1ull << (level * DIGIT_BITS)) - 1;
  if (last <= now_ms) return wheel->count[level][bucket];
  if (start > now_ms) return 0;
  return walk_expired(wheel, wheel->head[level][bucket], now_ms);
}

uint32_t perigee_wheel_expired(const perigee_wheel *wheel, uint64_t now_ms) {
  uint32_t expired = wheel->stale;
  for (uint32_t level = 0; level < PERIGEE_WHEEL_LEVELS; level++)
    for (uint64_t left = wheel->occupied[level]; left; left &= left - 1)
      expired += expired_in_bucket(wheel, level, (uint32_t)__builtin_ctzll(left), now_ms);
  return expired;
}

static const char *verify_bucket(const perigee_wheel *wheel, uint32_t level, uint32_t bucket) {
  uint32_t count = 0, prev = PERIGEE_NONE;
  uint64_t start = bucket_start(wheel, level, bucket);
  for (uint32_t slot = wheel->head[level][bucket]; slot != PERIGEE_NONE;
       slot = wheel->links[slot].next) {
    PERIGEE_VERIFY(wheel->links[slot].prev == prev);
    PERIGEE_VERIFY(entry_level(wheel, slot) == level);
    PERIGEE_VERIFY(deadline_of(wheel, slot) >= start);
    PERIGEE_VERIFY(deadline_of(wheel, slot) - start < 1ull << (level * DIGIT_BITS));
    prev = slot;
    count++;
  }
  PERIGEE_VERIFY(count == wheel->count[level][bucket]);
  PERIGEE_VERIFY((count != 0) == (wheel->occupied[level] >> bucket & 1));
  return NULL;
}

static const char *verify_stale(const perigee_wheel *wheel) {
  uint32_t count = 0, prev = PERIGEE_NONE;
  uint64_t oldest = 0;
  for (uint32_t slot = wheel->stale_first; slot != PERIGEE_NONE; slot = wheel->links[slot].next) {
    PERIGEE_VERIFY(wheel->links[slot].prev == prev);
    PERIGEE_VERIFY(entry_level(wheel, slot) == STALE_LEVEL);
    PERIGEE_VERIFY(deadline_of(wheel, slot) >= oldest);
    oldest = deadline_of(wheel, slot);
    prev = slot;
    count++;
  }
  PERIGEE_VERIFY(wheel->stale_last == prev);
  PERIGEE_VERIFY(wheel->stale == count);
  return NULL;
}

const char *perigee_wheel_verify(const perigee_wheel *wheel) {
  uint32_t total = wheel->stale;
  const char *broken = verify_stale(wheel);
  if (broken) return broken;
  for (uint32_t level = 0; level < PERIGEE_WHEEL_LEVELS; level++)
    for (uint32_t bucket = 0; bucket < PERIGEE_WHEEL_BUCKETS; bucket++) {
      broken = verify_bucket(wheel, level, bucket);
      if (broken) return broken;
      total += wheel->count[level][bucket];
    }
  PERIGEE_VERIFY(total == wheel->total);
  return NULL;
}
