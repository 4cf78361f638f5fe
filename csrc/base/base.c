/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "base/base.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

static uint32_t fail_countdown;

static int must_fail(void) {
  return fail_countdown != 0 && --fail_countdown == 0;
}

uint32_t perigee_alloc_fail_at(uint32_t n) {
  uint32_t left = fail_countdown;
  fail_countdown = n;
  return left;
}

/* Large arrays that are read at random spend their time in the TLB: ask for huge pages where the
 * system gives them on request. Advice only: what comes of it does not matter. */
static void *advised(void *block, size_t bytes) {
#ifdef MADV_HUGEPAGE
  if (block && bytes >= 2 * HUGE_PAGE) {
    uintptr_t from = ((uintptr_t)block + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
    uintptr_t to = ((uintptr_t)block + bytes) & ~(uintptr_t)(HUGE_PAGE - 1);
    (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
  }
#endif
  return block;
}

void *perigee_alloc(size_t bytes) {
  return must_fail() ? NULL : advised(malloc(bytes), bytes);
}

void *perigee_zalloc(size_t bytes) {
  return must_fail() ? NULL : advised(calloc(1, bytes), bytes);
}

void *perigee_zalloc_lines(size_t bytes, void **block) {
  char *first = perigee_zalloc(perigee_line_bytes(bytes));
  if (!first) return NULL;
  *block = first;
  return first + (-(uintptr_t)first & (PERIGEE_LINE - 1));
}

void *perigee_realloc(void *block, size_t bytes) {
  return must_fail() ? NULL : advised(realloc(block, bytes), bytes);
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
