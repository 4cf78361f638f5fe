/* SPDX-License-Identifier: MIT
 *
 * Spaces: keys that meet no others, counted apart and cleared apart.
 */
#include "core/store_state.h"

enum { SPACES_MAX = PERIGEE_IF_HARD(64, 0xFFFF), CLEARED = 0x10000 };

enum { IN_USE, DROPPED, DROPPED_NOT_CLEARED };

static int32_t drop(perigee_store *store, perigee_space *space) {
  int cleared = perigee_store_clear_space(store, space->number) != 0;
  return space->dropped = cleared ? DROPPED : DROPPED_NOT_CLEARED;
}

/* A space that was dropped, to be used again; or 0. */
static uint32_t dropped_space(perigee_store *store) {
  for (uint32_t at = 1; at < store->space_count; at++) {
    perigee_space *space = &store->spaces[at];
    if (space->dropped == IN_USE) continue;
    if (space->dropped == DROPPED || drop(store, space) == DROPPED) return space->number;
  }
  return 0;
}

PERIGEE_API uint32_t perigee_store_new_space(perigee_store *store) {
  uint32_t number = store->space_count ? store->space_count : 1;
  if (number > SPACES_MAX) {
    number = dropped_space(store);
    if (number) *perigee_store_space_of(store, number) = (perigee_space){.number = number};
    return number;
  }
  if (perigee_grow((void **)&store->spaces, &store->space_capacity, number + 1,
                   sizeof *store->spaces))
    return 0;
  store->spaces[number] = (perigee_space){.number = number};
  store->space_count = number + 1;
  return number;
}

PERIGEE_API perigee_space *perigee_store_get_space(perigee_store *store, uint32_t space) {
  return perigee_store_space_of(store, space);
}

/* The number of an earlier life may come back only after a sweep has found all of that life. */
PERIGEE_API uint32_t perigee_store_clear_space(perigee_store *store, uint32_t space) {
  if (store->spaces_unswept >= PERIGEE_IF_HARD(2, 0xFFFF)) return 0;
  store->spaces_unswept++;
  store->sweep_left = store->view.high;
  if (store->view.high == 0) store->spaces_unswept = 0;
  return perigee_store_space_of(store, space)->number = space + CLEARED;
}

PERIGEE_API void perigee_store_drop_space(perigee_store *store, uint32_t space) {
  perigee_space *dropped = perigee_store_space_of(store, space);
  if (dropped != &store->nowhere) drop(store, dropped);
}

PERIGEE_API double perigee_store_space_size(perigee_store *store, uint32_t space) {
  double size = 0;
  for (int32_t slot = perigee_store_next(store, -1); slot >= 0;
       slot = perigee_store_next(store, slot))
    if (store->nodes[slot].space == space) size++;
  return size;
}
