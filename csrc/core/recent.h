/* SPDX-License-Identifier: MIT
 *
 * recent.h: a table of records by 64-bit name that keeps the most recently used ones. Inline,
 * internal.
 *
 * It begins small, doubles up to `max` records, and then gives the oldest one's place to a new
 * one. Each record begins with a perigee_recent_item. Records are numbered from 1; number 0 is
 * none. Pointers hold until the next add.
 */
#ifndef PERIGEE_RECENT_H
#define PERIGEE_RECENT_H

#include "base/base.h"

#include <string.h>

enum { PERIGEE_RECENT_FIRST = 4 }; /* capacity, at most `max` */

typedef struct perigee_recent_item {
  uint64_t name;
  uint16_t newer, older; /* in order of use; 0: none */
  uint16_t next;         /* in the chain of its bucket; 0: none */
  uint16_t spare;
} perigee_recent_item;

typedef struct perigee_recent {
  char *items;
  uint16_t *buckets; /* as many as there is capacity; a power of two */
  uint32_t item_size, count, capacity, max;
  uint16_t newest, oldest;
} perigee_recent;

/* `max` is a power of two, below 32768. */
static inline void perigee_recent_init(perigee_recent *table, size_t item_size, uint32_t max) {
  memset(table, 0, sizeof *table);
  table->item_size = (uint32_t)item_size;
  table->max = max;
}

static inline void perigee_recent_fini(perigee_recent *table) {
  perigee_dealloc(table->items);
  perigee_dealloc(table->buckets);
}

static inline size_t perigee_recent_bytes(const perigee_recent *table) {
  return table->capacity * (table->item_size + sizeof *table->buckets);
}

static inline perigee_recent_item *perigee_recent_at(const perigee_recent *table, uint32_t number) {
  return (perigee_recent_item *)(table->items + (size_t)(number - 1) * table->item_size);
}

static inline uint16_t *perigee_recent_bucket(const perigee_recent *table, uint64_t name) {
  return &table->buckets[(name ^ name >> 32) & (table->capacity - 1)];
}

static inline void *perigee_recent_find(const perigee_recent *table, uint64_t name) {
  if (table->capacity == 0) return NULL;
  for (uint32_t i = *perigee_recent_bucket(table, name); i; i = perigee_recent_at(table, i)->next)
    if (perigee_recent_at(table, i)->name == name) return perigee_recent_at(table, i);
  return NULL;
}

static inline uint32_t perigee_recent_number(const perigee_recent *table, const void *item) {
  return (uint32_t)(((const char *)item - table->items) / table->item_size) + 1;
}

static inline void perigee_recent_unlink(perigee_recent *table, perigee_recent_item *item) {
  if (item->newer)
    perigee_recent_at(table, item->newer)->older = item->older;
  else
    table->newest = item->older;
  if (item->older)
    perigee_recent_at(table, item->older)->newer = item->newer;
  else
    table->oldest = item->newer;
}

static inline void perigee_recent_link(perigee_recent *table, perigee_recent_item *item) {
  uint16_t number = (uint16_t)perigee_recent_number(table, item);
  item->newer = 0;
  item->older = table->newest;
  if (table->newest)
    perigee_recent_at(table, table->newest)->newer = number;
  else
    table->oldest = number;
  table->newest = number;
}

/* It is the most recent one now. */
static inline void perigee_recent_touch(perigee_recent *table, void *item) {
  if (perigee_recent_number(table, item) == table->newest) return;
  perigee_recent_unlink(table, item);
  perigee_recent_link(table, item);
}

static inline int perigee_recent_grow(perigee_recent *table) {
  uint32_t capacity = table->capacity ? table->capacity * 2 : PERIGEE_RECENT_FIRST;
  if (table->capacity == table->max) return -1;
  char *items = perigee_zalloc((size_t)capacity * table->item_size);
  uint16_t *buckets = perigee_zalloc(capacity * sizeof *buckets);
  if (!items || !buckets) {
    perigee_dealloc(items);
    perigee_dealloc(buckets);
    return -1;
  }
  if (table->count) memcpy(items, table->items, (size_t)table->count * table->item_size);
  perigee_recent_fini(table);
  table->items = items;
  table->buckets = buckets;
  table->capacity = capacity;
  for (uint32_t i = 1; i <= table->count; i++) {
    perigee_recent_item *item = perigee_recent_at(table, i);
    uint16_t *bucket = perigee_recent_bucket(table, item->name);
    item->next = *bucket;
    *bucket = (uint16_t)i;
  }
  return 0;
}

static inline void perigee_recent_unchain(perigee_recent *table, perigee_recent_item *item) {
  uint16_t *at = perigee_recent_bucket(table, item->name);
  uint32_t number = perigee_recent_number(table, item);
  while (*at != number) at = &perigee_recent_at(table, *at)->next;
  *at = item->next;
}

/* A new record, all zero but for its name, which is not there yet; it is the most recent one.
 * NULL: not even the first ones could be allocated. */
static inline void *perigee_recent_add(perigee_recent *table, uint64_t name) {
  perigee_recent_item *item;
  if (table->count == table->capacity) (void)perigee_recent_grow(table);
  if (table->capacity == 0) return NULL;
  if (table->count < table->capacity) {
    item = perigee_recent_at(table, ++table->count);
  } else {
    item = perigee_recent_at(table, table->oldest);
    perigee_recent_unlink(table, item);
    perigee_recent_unchain(table, item);
  }
  memset(item, 0, table->item_size);
  item->name = name;
  uint16_t *bucket = perigee_recent_bucket(table, name);
  item->next = *bucket;
  *bucket = (uint16_t)perigee_recent_number(table, item);
  perigee_recent_link(table, item);
  return item;
}

#endif
