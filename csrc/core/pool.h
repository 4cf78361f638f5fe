/* SPDX-License-Identifier: MIT
 *
 * pool.h: numbered records that are reused, named by ids that go stale. Inline, internal.
 *
 * A pool is one array of equal records, each of which begins with a perigee_pool_item. Freed
 * records are chained and reused last in, first out, so that a warm pool allocates nothing and
 * stays in the CPU's caches. An *id* is generation * PERIGEE_POOL_MAX + number; the generation
 * moves when a record is freed, so an id that outlived its record finds nothing. Records move
 * when the pool grows: hold numbers, not pointers, across a take.
 *
 *     items   | 0: used | 1: free -> 3 | 2: used | 3: free -> none |      |
 *     first_free = 1                                        used = 4   capacity
 */
#ifndef PERIGEE_POOL_H
#define PERIGEE_POOL_H

#include "base/base.h"

#include <string.h>

enum {
  PERIGEE_POOL_MAX = 16777216,          /* records in a pool at most */
  PERIGEE_POOL_GENERATIONS = 536870912, /* ids stay below 2^53: exact in a double */
  PERIGEE_POOL_FIRST_GENERATION = PERIGEE_IF_HARD(PERIGEE_POOL_GENERATIONS - 2, 1)
};
#define PERIGEE_POOL_NONE UINT32_MAX       /* no record */
#define PERIGEE_POOL_USED (UINT32_MAX - 1) /* next_free of a record in use */

typedef struct perigee_pool_item {
  uint32_t generation; /* 1 .. PERIGEE_POOL_GENERATIONS - 1 */
  uint32_t next_free;  /* or PERIGEE_POOL_USED, or PERIGEE_POOL_NONE at the chain's end */
} perigee_pool_item;

typedef struct perigee_pool {
  char *items;
  uint32_t item_size, capacity;
  uint32_t used;       /* records ever taken: numbers below it have a generation */
  uint32_t first_free; /* or PERIGEE_POOL_NONE */
} perigee_pool;

static inline void perigee_pool_init(perigee_pool *pool, size_t item_size) {
  memset(pool, 0, sizeof *pool);
  pool->item_size = (uint32_t)item_size;
  pool->first_free = PERIGEE_POOL_NONE;
}

static inline void perigee_pool_fini(perigee_pool *pool) {
  perigee_dealloc(pool->items);
}

static inline perigee_pool_item *perigee_pool_at(const perigee_pool *pool, uint32_t number) {
  return (perigee_pool_item *)(pool->items + (size_t)number * pool->item_size);
}

static inline int perigee_pool_in_use(const perigee_pool *pool, uint32_t number) {
  return number < pool->used && perigee_pool_at(pool, number)->next_free == PERIGEE_POOL_USED;
}

static inline int perigee_pool_grow(perigee_pool *pool) {
  uint32_t wanted = PERIGEE_IF_HARD(pool->capacity + 1, pool->capacity ? pool->capacity * 2 : 64);
  if (pool->capacity >= PERIGEE_POOL_MAX) return -1;
  void *grown = perigee_realloc(pool->items, (size_t)wanted * pool->item_size);
  if (!grown) return -1;
  pool->items = grown;
  pool->capacity = wanted;
  return 0;
}

/* perigee_pool_take: the number of a record to use. A record used for the first time is zero,
 * else it is as it was left. PERIGEE_POOL_NONE: memory is out, nothing has changed. */
static inline uint32_t perigee_pool_take(perigee_pool *pool) {
  uint32_t number = pool->first_free;
  if (PERIGEE_LIKELY(number != PERIGEE_POOL_NONE)) {
    pool->first_free = perigee_pool_at(pool, number)->next_free;
  } else {
    if (pool->used == pool->capacity && perigee_pool_grow(pool)) return PERIGEE_POOL_NONE;
    number = pool->used++;
    memset(perigee_pool_at(pool, number), 0, pool->item_size);
    perigee_pool_at(pool, number)->generation = PERIGEE_POOL_FIRST_GENERATION;
  }
  perigee_pool_at(pool, number)->next_free = PERIGEE_POOL_USED;
  return number;
}

static inline void perigee_pool_release(perigee_pool *pool, uint32_t number) {
  perigee_pool_item *slot = perigee_pool_at(pool, number);
  if (++slot->generation == PERIGEE_POOL_GENERATIONS) slot->generation = 1;
  slot->next_free = pool->first_free;
  pool->first_free = number;
}

static inline double perigee_pool_id(const perigee_pool *pool, uint32_t number) {
  return (double)perigee_pool_at(pool, number)->generation * PERIGEE_POOL_MAX + number;
}

/* perigee_pool_find: the number of the record that `id` names, or PERIGEE_POOL_NONE: any double
 * may be asked for. */
static inline uint32_t perigee_pool_find(const perigee_pool *pool, double id) {
  if (!(id >= PERIGEE_POOL_MAX && id < (double)PERIGEE_POOL_GENERATIONS * PERIGEE_POOL_MAX)) {
    return PERIGEE_POOL_NONE;
  }
  int64_t whole = (int64_t)id;
  uint32_t number = (uint32_t)(whole & (PERIGEE_POOL_MAX - 1));
  if (!perigee_pool_in_use(pool, number)) return PERIGEE_POOL_NONE;
  int64_t generation = perigee_pool_at(pool, number)->generation;
  return generation == whole / PERIGEE_POOL_MAX ? number : PERIGEE_POOL_NONE;
}

static inline const char *perigee_pool_verify(const perigee_pool *pool) {
  uint32_t free_count = 0, used_count = 0;
  PERIGEE_VERIFY(pool->used <= pool->capacity && pool->capacity <= PERIGEE_POOL_MAX);
  for (uint32_t i = 0; i < pool->used; i++) {
    uint32_t generation = perigee_pool_at(pool, i)->generation;
    PERIGEE_VERIFY(generation >= 1 && generation < PERIGEE_POOL_GENERATIONS);
    used_count += (uint32_t)perigee_pool_in_use(pool, i);
  }
  for (uint32_t i = pool->first_free; i != PERIGEE_POOL_NONE; free_count++) {
    PERIGEE_VERIFY(i < pool->used && free_count < pool->used);
    i = perigee_pool_at(pool, i)->next_free;
    PERIGEE_VERIFY(i != PERIGEE_POOL_USED);
  }
  PERIGEE_VERIFY(used_count + free_count == pool->used);
  return NULL;
}

#endif
