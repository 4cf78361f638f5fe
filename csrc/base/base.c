/* SPDX-License-Identifier: MIT */
#include "base/base.h"

#include <stdlib.h>

static uint32_t fail_countdown;

static int must_fail(void) {
  return fail_countdown != 0 && --fail_countdown == 0;
}

void perigee_alloc_fail_at(uint32_t n) {
  fail_countdown = n;
}

void *perigee_alloc(size_t bytes) {
  return must_fail() ? NULL : malloc(bytes);
}

void *perigee_zalloc(size_t bytes) {
  return must_fail() ? NULL : calloc(1, bytes);
}

void *perigee_realloc(void *block, size_t bytes) {
  return must_fail() ? NULL : realloc(block, bytes);
}

void perigee_dealloc(void *block) {
  free(block);
}

int perigee_grow(void **items, uint32_t *capacity, uint32_t needed, size_t item_size) {
  if (needed <= *capacity) return 0;
  uint32_t wanted = *capacity ? *capacity : 8;
  while (wanted < needed) {
    if (wanted > UINT32_MAX / 2) return -1;
    wanted *= 2;
  }
  void *grown = perigee_realloc(*items, wanted * item_size);
  if (!grown) return -1;
  *items = grown;
  *capacity = wanted;
  return 0;
}
