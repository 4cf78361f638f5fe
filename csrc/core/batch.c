/* SPDX-License-Identifier: MIT
 *
 * batch.c: a pool of batches, and an index of the open ones by loader.
 *
 *     index                      pool of batches
 *     +--------------------+     +------------------------+      +----+----+----+----+
 *     | hash(loader 4), 2  |---->| 2: loader 4, max 100,  |----->| l9 | l3 | l7 |    |
 *     +--------------------+     |    due_ms, count 3     |      +----+----+----+----+
 *                                +------------------------+       loads, as they came
 *
 * A freed record keeps its array, so that a warm registry allocates nothing.
 *
 * Invariants: the index holds exactly the batches that are `listed`, each under its loader and
 * one per loader; a listed batch has a loader and room for one more.
 */
#include "core/batch.h"

#include <math.h>

#include "base/hash.h"
#include "core/lookup.h"

typedef struct batch {
  perigee_pool_item item;
  double *loads;
  double due_ms;
  uint32_t loader, max;
  uint32_t count, capacity;
  uint32_t taken;
  uint32_t listed;
} batch;

struct perigee_batch {
  perigee_pool pool;
  perigee_lookup open;
};

static inline batch *batch_at(const perigee_batch *batches, uint32_t number) {
  return (batch *)perigee_pool_at(&batches->pool, number);
}

static inline uint32_t hash_of(uint32_t loader) {
  return (uint32_t)perigee_hash_fold(loader ^ PERIGEE_HASH_K2, PERIGEE_HASH_K0);
}

/* The place in the index of the loader's open batch, or PERIGEE_POOL_NONE. */
static uint32_t find_open(const perigee_batch *batches, uint32_t loader) {
  const perigee_lookup *open = &batches->open;
  for (uint32_t at = perigee_lookup_first(open, hash_of(loader)); perigee_lookup_more(open, at);
       at = perigee_lookup_next(open, at)) {
    if (batch_at(batches, open->entries[at].number)->loader == loader) return at;
  }
  return PERIGEE_POOL_NONE;
}

/* Newcomers do not find the batch at place `at` any more. */
static void unlist(perigee_batch *batches, uint32_t at) {
  batch_at(batches, batches->open.entries[at].number)->listed = 0;
  perigee_lookup_remove(&batches->open, at);
}

static void close_batch(perigee_batch *batches, uint32_t number) {
  const batch *batch = batch_at(batches, number);
  if (!batch->listed) return;
  unlist(batches, perigee_lookup_locate(&batches->open, hash_of(batch->loader), number));
}

static uint32_t grown_capacity(uint32_t capacity) {
  return PERIGEE_IF_HARD(capacity + 1, capacity ? capacity * 2 : 16);
}

static int make_room(batch *batch) {
  if (batch->count < batch->capacity) return 0;
  uint32_t wanted = grown_capacity(batch->capacity);
  double *grown = perigee_realloc(batch->loads, (size_t)wanted * sizeof *grown);
  if (!grown) return -1;
  batch->loads = grown;
  batch->capacity = wanted;
  return 0;
}

PERIGEE_API perigee_batch *perigee_batch_new(void) {
  perigee_batch *batches = perigee_alloc(sizeof *batches);
  if (!batches) return NULL;
  perigee_pool_init(&batches->pool, sizeof(batch));
  if (perigee_lookup_init(&batches->open) == 0) return batches;
  perigee_dealloc(batches);
  return NULL;
}

PERIGEE_API void perigee_batch_free(perigee_batch *batches) {
  if (!batches) return;
  for (uint32_t i = 0; i < batches->pool.used; i++) perigee_dealloc(batch_at(batches, i)->loads);
  perigee_pool_fini(&batches->pool);
  perigee_lookup_fini(&batches->open);
  perigee_dealloc(batches);
}

PERIGEE_API double perigee_batch_open(perigee_batch *batches, uint32_t loader) {
  uint32_t at = find_open(batches, loader);
  if (at == PERIGEE_POOL_NONE) return 0;
  return perigee_pool_id(&batches->pool, batches->open.entries[at].number);
}

PERIGEE_API double perigee_batch_begin(perigee_batch *batches, uint32_t loader, uint32_t max,
                                       double due_ms) {
  if (loader && perigee_lookup_reserve(&batches->open)) return 0;
  uint32_t number = perigee_pool_take(&batches->pool);
  if (number == PERIGEE_POOL_NONE) return 0;
  batch *batch = batch_at(batches, number);
  batch->due_ms = due_ms;
  batch->loader = loader;
  batch->max = max ? max : 1;
  batch->count = batch->taken = 0;
  batch->listed = loader != 0;
  if (loader) {
    uint32_t older = find_open(batches, loader);
    if (older != PERIGEE_POOL_NONE) unlist(batches, older);
    perigee_lookup_insert(&batches->open, hash_of(loader), number);
  }
  return perigee_pool_id(&batches->pool, number);
}

PERIGEE_API uint32_t perigee_batch_add(perigee_batch *batches, double id, double load) {
  uint32_t number = perigee_pool_find(&batches->pool, id);
  if (number == PERIGEE_POOL_NONE) return 0;
  batch *batch = batch_at(batches, number);
  if (batch->count == batch->max || make_room(batch)) return 0;
  batch->loads[batch->count++] = load;
  if (batch->count == batch->max) close_batch(batches, number);
  return batch->count;
}

PERIGEE_API double perigee_batch_due_ms(perigee_batch *batches, double id) {
  uint32_t number = perigee_pool_find(&batches->pool, id);
  return number != PERIGEE_POOL_NONE ? batch_at(batches, number)->due_ms : INFINITY;
}

PERIGEE_API double perigee_batch_take(perigee_batch *batches, double id) {
  uint32_t number = perigee_pool_find(&batches->pool, id);
  if (number == PERIGEE_POOL_NONE) return 0;
  batch *batch = batch_at(batches, number);
  close_batch(batches, number);
  batch->max = batch->count;
  if (batch->taken < batch->count) return batch->loads[batch->taken++];
  perigee_pool_release(&batches->pool, number);
  return 0;
}

PERIGEE_API perigee_batch *perigee_batch_closed(void) {
  static _Thread_local perigee_batch *closed;
  if (!closed) closed = perigee_batch_new();
  return closed;
}

static const char *verify_batch(const perigee_batch *batches, uint32_t number) {
  const batch *batch = batch_at(batches, number);
  PERIGEE_VERIFY(batch->count <= batch->capacity);
  if (!perigee_pool_in_use(&batches->pool, number)) return NULL;
  PERIGEE_VERIFY(batch->count <= batch->max);
  if (!batch->listed) return NULL;
  PERIGEE_VERIFY(batch->loader != 0 && batch->count < batch->max);
  uint32_t at = find_open(batches, batch->loader);
  PERIGEE_VERIFY(at != PERIGEE_POOL_NONE && batches->open.entries[at].number == number);
  PERIGEE_VERIFY(batches->open.entries[at].hash == hash_of(batch->loader));
  return NULL;
}

PERIGEE_API const char *perigee_batch_verify(const perigee_batch *batches) {
  const char *broken = perigee_pool_verify(&batches->pool);
  uint32_t listed = 0;
  for (uint32_t i = 0; !broken && i < batches->pool.used; i++) {
    broken = verify_batch(batches, i);
    listed += perigee_pool_in_use(&batches->pool, i) && batch_at(batches, i)->listed;
  }
  if (!broken) broken = perigee_lookup_verify(&batches->open);
  if (broken) return broken;
  PERIGEE_VERIFY(listed == batches->open.count);
  return NULL;
}
