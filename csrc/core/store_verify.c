/* SPDX-License-Identifier: MIT
 *
 * Checks of every invariant of a store, for tests and fuzzers.
 */
#include "core/store_state.h"

static const char *verify_entry(perigee_store *store, uint32_t slot) {
  const perigee_entry *entry = &store->entries[slot];
  uint32_t space = store->nodes[slot].space;
  PERIGEE_VERIFY(perigee_store_slot(store, space, entry->word) == slot);
  PERIGEE_VERIFY((space != 0) == ((entry->life & PERIGEE_SPACED) != 0));
  if (entry->life & PERIGEE_TAGGED) {
    PERIGEE_VERIFY(store->tagging && store->tagging[slot].first != PERIGEE_NONE);
    PERIGEE_VERIFY(store->tagging[slot].stamp <= perigee_tags_now(store->tags));
  }
  return NULL;
}

static const char *verify_queue(const perigee_store *store, const perigee_queue *queue,
                                uint32_t *total) {
  uint32_t count = 0, newer = PERIGEE_NONE;
  for (uint32_t slot = queue->head; slot != PERIGEE_NONE; slot = store->nodes[slot].older) {
    PERIGEE_VERIFY(store->nodes[slot].newer == newer);
    PERIGEE_VERIFY(perigee_store_is_current(store, &store->entries[slot]));
    newer = slot;
    count++;
  }
  PERIGEE_VERIFY(queue->tail == newer);
  PERIGEE_VERIFY(queue->count == count);
  *total += count;
  return NULL;
}

static const char *verify_free(const perigee_store *store) {
  uint32_t count = 0;
  for (uint32_t slot = store->free; slot != PERIGEE_NONE; slot = store->nodes[slot].newer) {
    PERIGEE_VERIFY(store->entries[slot].word == PERIGEE_WORD_FREE);
    PERIGEE_VERIFY(!store->tracks || store->tracks[slot] == 0);
    count++;
  }
  PERIGEE_VERIFY(store->used + count == store->view.high);
  PERIGEE_VERIFY(store->view.high <= store->capacity);
  return NULL;
}

PERIGEE_API const char *perigee_store_verify(perigee_store *store) {
  uint32_t indexed = 0, current = 0, timed = 0, queued = 0;
  const char *broken = NULL;
  for (uint32_t slot = 0; slot < store->view.high && !broken; slot++) {
    const perigee_entry *entry = &store->entries[slot];
    if (entry->word == PERIGEE_WORD_FREE) continue;
    indexed++;
    if (perigee_store_is_current(store, entry)) {
      current++;
      timed += perigee_entry_deadline(entry) != PERIGEE_FOREVER;
    }
    broken = verify_entry(store, slot);
  }
  for (int i = 0; i < PERIGEE_ORDER_QUEUES && !broken; i++)
    broken = verify_queue(store, &store->order.queues[i], &queued);
  if (!broken && store->policy->verify) broken = store->policy->verify(&store->order);
  if (!broken) broken = verify_free(store);
  if (!broken && store->wheel) broken = perigee_wheel_verify(store->wheel);
  if (broken) return broken;
  PERIGEE_VERIFY(indexed == perigee_store_indexed(store));
  PERIGEE_VERIFY(current == store->live);
  PERIGEE_VERIFY(queued == store->live);
  PERIGEE_VERIFY(timed == (store->wheel ? store->wheel->total : 0));
  return NULL;
}

PERIGEE_API double perigee_store_mean_probes(const perigee_store *store) {
  double probes = 0, indexed = 0;
  for (uint32_t slot = 0; slot < store->view.high; slot++) {
    if (store->entries[slot].word == PERIGEE_WORD_FREE) continue;
    probes += perigee_index_probes(&store->index, store->entries, store->nodes, slot);
    indexed++;
  }
  return indexed > 0 ? probes / indexed : 0;
}
