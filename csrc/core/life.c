/* SPDX-License-Identifier: MIT
 *
 * Lives are slots of one array; an id is generation * SLOTS + slot, and a slot's generation moves
 * when its life ends. Those that last are found by their owner in a chained hash table whose links
 * are slot numbers:
 *
 *     buckets[hash(owner)] -> slot -> next -> … -> NONE         free -> slot -> next -> … -> NONE
 *
 * Invariant: a slot is in the chain of its owner's bucket while its life lasts, else in the free
 * list; it is never in both.
 */
#include "core/life.h"

enum { SLOTS = 1 << 24, NONE = -1, FIRST = 64 };
enum { GENERATIONS = 1 << 29 }; /* ids stay below 2^53 */

typedef struct life {
  const void *owner;   /* NULL: the slot is free */
  void *const *watch;  /* NULL, or what says that the life is over */
  uint32_t generation; /* 1 .. GENERATIONS - 1 */
  int32_t next;
  int32_t works; /* that have begun and not ended */
} life;

static life *lives;
static int32_t *buckets; /* as many as slots: a power of two */
static int32_t capacity, free_list = NONE;
static double losses;

static int32_t *bucket_of(const void *owner) {
  uint64_t bits = (uint64_t)(uintptr_t)owner * UINT64_C(0x9E3779B97F4A7C15);
  return &buckets[(bits >> 40) & (uint32_t)(capacity - 1)];
}

static double id_of(int32_t slot) {
  return (double)lives[slot].generation * SLOTS + slot;
}

static void insert(int32_t slot) {
  int32_t *bucket = bucket_of(lives[slot].owner);
  lives[slot].next = *bucket;
  *bucket = slot;
}

static void end(int32_t slot) {
  int32_t *link = bucket_of(lives[slot].owner);
  while (*link != slot) link = &lives[*link].next;
  *link = lives[slot].next;
  losses += lives[slot].works;
  lives[slot].owner = NULL;
  lives[slot].generation = lives[slot].generation % (GENERATIONS - 1) + 1;
  lives[slot].next = free_list;
  free_list = slot;
}

/* Ends a life that is seen to be over. Returns whether it lasts. */
static int lasts(int32_t slot) {
  if (!lives[slot].watch || *lives[slot].watch) return 1;
  end(slot);
  return 0;
}

/* The slot of a life that lasts, or NONE. */
static int32_t slot_of(double id) {
  if (!(id >= SLOTS && id < 9007199254740992.0)) return NONE;
  int32_t slot = (int32_t)((uint64_t)id % SLOTS);
  if (slot >= capacity || !lives[slot].owner || id_of(slot) != id) return NONE;
  return lasts(slot) ? slot : NONE;
}

/* Doubles the slots, and sorts the lives that last into twice the buckets. */
static int grow(void) {
  int32_t wanted = capacity ? capacity * 2 : FIRST;
  if (wanted > SLOTS) return -1;
  int32_t *chains = perigee_alloc((size_t)wanted * sizeof(*chains));
  life *slots = chains ? perigee_realloc(lives, (size_t)wanted * sizeof(*slots)) : NULL;
  if (!slots) {
    perigee_dealloc(chains);
    return -1;
  }
  perigee_dealloc(buckets);
  int32_t old = capacity;
  lives = slots, buckets = chains, capacity = wanted;
  for (int32_t i = 0; i < wanted; i++) buckets[i] = NONE;
  for (int32_t i = 0; i < old; i++) insert(i); /* none is free, or we would not grow */
  for (int32_t i = wanted - 1; i >= old; i--) {
    lives[i] = (life){.generation = 1, .next = free_list};
    free_list = i;
  }
  return 0;
}

PERIGEE_API double perigee_life_of(const void *owner) {
  if (!capacity || !owner) return 0;
  for (int32_t slot = *bucket_of(owner); slot != NONE; slot = lives[slot].next) {
    if (lives[slot].owner == owner) return lasts(slot) ? id_of(slot) : 0;
  }
  return 0;
}

PERIGEE_API double perigee_life_begin(const void *owner, void *const *watch) {
  if (!owner || (free_list == NONE && grow() != 0)) return 0;
  int32_t slot = free_list;
  free_list = lives[slot].next;
  lives[slot].owner = owner;
  lives[slot].watch = watch;
  lives[slot].works = 0;
  insert(slot);
  return id_of(slot);
}

/* A clean-up's data is the id itself: what has ended is not ended again in somebody else's place. */
PERIGEE_API void *perigee_life_data(double id) {
  return (void *)(uintptr_t)id;
}

PERIGEE_API void perigee_life_end(void *data) {
  int32_t slot = slot_of((double)(uintptr_t)data);
  if (slot != NONE) end(slot);
}

PERIGEE_API int32_t perigee_life_is_over(double id) {
  return slot_of(id) == NONE;
}

PERIGEE_API void perigee_life_work(double id, int32_t delta) {
  int32_t slot = slot_of(id);
  if (slot != NONE) lives[slot].works += delta;
}

PERIGEE_API double perigee_life_losses(void) {
  for (int32_t slot = 0; slot < capacity; slot++) {
    if (lives[slot].owner && lives[slot].works > 0) lasts(slot);
  }
  return losses;
}
