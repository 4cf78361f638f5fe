/* SPDX-License-Identifier: MIT
 *
 * What a backup needs to know of a store: which entries have changed since it was saved, and
 * which slots it holds a record of.
 *
 *   tracks[slot]   changed  saved
 *                     1       0     put, and never saved
 *                     0       1     the backup has it as it is
 *                     1       1     the backup has an earlier value of the same key, or may have
 *
 * A slot that is free has neither. What leaves a slot takes its bits along: see
 * perigee_store_track_leave.
 */
#include "core/store_state.h"

PERIGEE_API int32_t perigee_store_track(perigee_store *store) {
  if (store->tracks) return 0;
  store->tracks = perigee_zalloc(store->capacity ? store->capacity : 1);
  if (!store->tracks) return PERIGEE_NO_MEMORY;
  perigee_store_assume_saved(store, 0);
  perigee_store_resave(store);
  return 0;
}

PERIGEE_API void perigee_store_assume_saved(perigee_store *store, int32_t assumed) {
  store->written = assumed ? PERIGEE_CHANGED | PERIGEE_SAVED : PERIGEE_CHANGED;
}

PERIGEE_API int32_t perigee_store_next_changed(perigee_store *store, int32_t slot) {
  for (uint32_t next = (uint32_t)(slot + 1); next < store->view.high; next++)
    if ((store->tracks[next] & PERIGEE_CHANGED) && perigee_store_is_live(store, next))
      return (int32_t)next;
  return PERIGEE_MISS;
}

PERIGEE_API void perigee_store_set_changed(perigee_store *store, int32_t slot) {
  perigee_store_track_write(store, (uint32_t)slot);
}

PERIGEE_API void perigee_store_set_saved(perigee_store *store, int32_t slot, int32_t saved) {
  store->tracks[slot] = saved ? PERIGEE_SAVED : 0;
}

PERIGEE_API void perigee_store_unsave(perigee_store *store) {
  for (uint32_t slot = 0; slot < store->view.high; slot++)
    store->tracks[slot] &= (uint8_t)~PERIGEE_SAVED;
}

PERIGEE_API void perigee_store_resave(perigee_store *store) {
  for (uint32_t slot = 0; slot < store->view.high; slot++)
    if (store->entries[slot].word != PERIGEE_WORD_FREE) store->tracks[slot] |= PERIGEE_CHANGED;
}

PERIGEE_API double perigee_store_saved(const perigee_store *store) {
  uint32_t saved = 0;
  for (uint32_t slot = 0; slot < store->view.high; slot++)
    saved += (store->tracks[slot] & PERIGEE_SAVED) != 0;
  return saved;
}

PERIGEE_API int32_t perigee_store_has_room(const perigee_store *store, double weight) {
  return store->used < store->limit && store->weight + weight <= store->max_weight;
}

PERIGEE_API uint32_t perigee_store_space(const perigee_store *store, int32_t slot) {
  return perigee_entry_space(&store->entries[slot], &store->nodes[slot]);
}
