/* SPDX-License-Identifier: MIT */
#include "core/ghost.h"

enum { WAYS = 8, KEYS_PER_BUCKET = 6, TICKS = 8192 };

int perigee_ghost_init(perigee_ghost *ghost, uint32_t capacity) {
  uint32_t buckets = capacity / KEYS_PER_BUCKET + 1;
  uint32_t *cells = perigee_zalloc((size_t)buckets * WAYS * sizeof *cells);
  if (!cells) return -1;
  uint32_t unit = capacity / TICKS + 1;
  *ghost = (perigee_ghost){
    .cells = cells, .buckets = buckets, .unit = unit, .window = (capacity + unit - 1) / unit};
  return 0;
}

void perigee_ghost_fini(perigee_ghost *ghost) {
  perigee_dealloc(ghost->cells);
  ghost->cells = NULL;
}

size_t perigee_ghost_bytes(const perigee_ghost *ghost) {
  return (size_t)ghost->buckets * WAYS * sizeof *ghost->cells;
}

static uint32_t *bucket_of(const perigee_ghost *ghost, uint32_t content) {
  return ghost->cells + (((uint64_t)content * ghost->buckets) >> 32) * WAYS;
}

/* Never 0, so that no cell of a key looks empty. */
static uint32_t fingerprint_of(uint32_t content) {
  uint32_t fingerprint = content & 0xFFFF;
  return fingerprint ? fingerprint : 1;
}

static uint32_t age_of(const perigee_ghost *ghost, uint32_t cell) {
  return (ghost->tick - cell) & 0xFFFF;
}

void perigee_ghost_add(perigee_ghost *ghost, uint32_t content) {
  uint32_t *cells = bucket_of(ghost, content), *chosen = cells;
  uint32_t fingerprint = fingerprint_of(content);
  for (uint32_t *cell = cells; cell < cells + WAYS; cell++) {
    if (*cell == 0 || *cell >> 16 == fingerprint) {
      chosen = cell;
      break;
    }
    if (age_of(ghost, *cell) > age_of(ghost, *chosen)) chosen = cell;
  }
  *chosen = fingerprint << 16 | (ghost->tick & 0xFFFF);
  if (++ghost->inserted % ghost->unit == 0) ghost->tick++;
}

int perigee_ghost_take(perigee_ghost *ghost, uint32_t content) {
  uint32_t *cells = bucket_of(ghost, content), fingerprint = fingerprint_of(content);
  for (uint32_t *cell = cells; cell < cells + WAYS; cell++) {
    if (*cell == 0 || *cell >> 16 != fingerprint) continue;
    int remembered = age_of(ghost, *cell) <= ghost->window;
    *cell = 0;
    return remembered;
  }
  return 0;
}
