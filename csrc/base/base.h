/* SPDX-License-Identifier: MIT
 *
 * base.h: what every C file of Perigee may use: exported symbols, memory and checks.
 *
 * Memory goes through hooks, so that tests can make any allocation fail. Each library
 * (core, rt, disk) links its own copy of base; the hooks are per library.
 */
#ifndef PERIGEE_BASE_H
#define PERIGEE_BASE_H

#include <stddef.h>
#include <stdint.h>

#define PERIGEE_API __attribute__((visibility("default")))
#define PERIGEE_LIKELY(x) __builtin_expect(!!(x), 1)
#define PERIGEE_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* A "hard" build forces rare events: growth at every step, tiny bounds. */
#ifdef PERIGEE_HARD
#define PERIGEE_IF_HARD(hard, normal) (hard)
#else
#define PERIGEE_IF_HARD(hard, normal) (normal)
#endif

/* Fails a verify() function: returns a static text that names the broken invariant. */
#define PERIGEE_VERIFY(condition)                      \
  do {                                                 \
    if (!(condition)) return __FILE__ ": " #condition; \
  } while (0)

/* Allocation. All return NULL when memory is out; `free` takes NULL.
 * `perigee_grow` doubles `*items` of `item_size` bytes until it holds `needed` of them;
 * returns 0, or -1 with the array untouched when memory is out. */
void *perigee_alloc(size_t bytes);
void *perigee_zalloc(size_t bytes);
void *perigee_realloc(void *block, size_t bytes);
void perigee_dealloc(void *block);
int perigee_grow(void **items, uint32_t *capacity, uint32_t needed, size_t item_size);

/* Zeroed memory that begins with a cache line, for `bytes`. Returns it, or NULL; `*block` is what
 * is to be freed, and of perigee_line_bytes(bytes). */
enum { PERIGEE_LINE = 64 };
void *perigee_zalloc_lines(size_t bytes, void **block);

static inline size_t perigee_line_bytes(size_t bytes) {
  return bytes + PERIGEE_LINE - 1;
}

/* Makes the n-th allocation from now fail (1 = the next), once. 0 switches it off. Returns what was
 * left of the last order; 0: it has been carried out, or there was none. */
uint32_t perigee_alloc_fail_at(uint32_t n);

#endif
