/* SPDX-License-Identifier: MIT
 *
 * A board is one mapping: a head with a number of chance, the words, the fences. A fence's lock
 * holds the process id of who has it, so that it can be taken from one who has died.
 */
#define _GNU_SOURCE
#include "core/words.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"

enum { PAGE = 4096, SPINS = 200, LOCK_WAIT_MS = 1000, NAP_NS = 50000 };

typedef struct fence {
  _Atomic uint32_t number;
  _Atomic int32_t holder; /* of the lock: process id, or 0 */
  _Atomic uint32_t fills;
  int32_t worker;      /* of the lease: process id, or 0; with what follows, under the lock */
  double hash;         /* of the key */
  double token;        /* of the work */
  double lease_number; /* the fence's, when the work began */
  double until_ms;
  double deferred_until_ms; /* till then leases are to be had elsewhere */
  uint64_t spare;
} fence;

struct perigee_board {
  uint64_t magic; /* below 2^52: a double can hold it */
  uint64_t spare[7];
  _Atomic uint32_t words[PERIGEE_WORDS];
  fence fences[PERIGEE_FENCES];
};

_Static_assert(sizeof(fence) == 64, "a fence is one cache line");

static perigee_board *own;
static int32_t mapped_by; /* process id */

PERIGEE_API perigee_board *perigee_board_own(void) {
  if (own) return own;
  void *memory =
    mmap(NULL, sizeof(perigee_board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return NULL;
  own = memory;
  own->magic = perigee_hash_random_seed() >> 12;
  mapped_by = (int32_t)getpid();
  return own;
}

PERIGEE_API perigee_board *perigee_board_inherited(void) {
  return own && mapped_by != (int32_t)getpid() ? own : NULL;
}

PERIGEE_API double perigee_board_address(const perigee_board *board) {
  return (double)(uintptr_t)board;
}

PERIGEE_API double perigee_board_magic(const perigee_board *board) {
  return (double)board->magic;
}

PERIGEE_API perigee_board *perigee_board_at(double address, double magic) {
  if (!(address >= PAGE && address < 140737488355328.0)) return NULL; /* 2^47 */
  uintptr_t at = (uintptr_t)address;
  if (at % PAGE != 0) return NULL;
  perigee_board *board = (perigee_board *)at;
  if (msync(board, sizeof(*board), MS_ASYNC) != 0) return NULL; /* not mapped here */
  return (double)board->magic == magic ? board : NULL;
}

PERIGEE_API const volatile uint32_t *perigee_board_word(perigee_board *board, uint32_t which) {
  return (const volatile uint32_t *)&board->words[which % PERIGEE_WORDS];
}

PERIGEE_API uint32_t perigee_board_bump(perigee_board *board, uint32_t which) {
  return 1 +
         atomic_fetch_add_explicit(&board->words[which % PERIGEE_WORDS], 1, memory_order_release);
}

static fence *fence_of(perigee_board *board, double which) {
  return &board->fences[(uint64_t)which % PERIGEE_FENCES];
}

PERIGEE_API double perigee_board_hash(const char *bytes, uint32_t length, double seed) {
  return (double)(perigee_hash_bytes(bytes, length, (uint64_t)seed) >> 18);
}

PERIGEE_API double perigee_board_fence(perigee_board *board, double which) {
  return atomic_load_explicit(&fence_of(board, which)->number, memory_order_acquire);
}

PERIGEE_API double perigee_board_fills(perigee_board *board, double which) {
  return atomic_load_explicit(&fence_of(board, which)->fills, memory_order_acquire);
}

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int is_dead(int32_t process) {
  return kill(process, 0) != 0 && errno == ESRCH;
}

/* Tries for the lock; `seen` is who has it. A holder that is no process any more loses it. */
static int try_lock(fence *f, int32_t self, int32_t *seen) {
  *seen = 0;
  if (atomic_compare_exchange_strong_explicit(&f->holder, seen, self, memory_order_acquire,
                                              memory_order_relaxed)) {
    return 1;
  }
  if (*seen == self || !is_dead(*seen)) return 0;
  return atomic_compare_exchange_strong_explicit(&f->holder, seen, self, memory_order_acquire,
                                                 memory_order_relaxed);
}

PERIGEE_API int32_t perigee_board_lock(perigee_board *board, double which, int32_t self) {
  fence *f = fence_of(board, which);
  int32_t seen = 0;
  int64_t ends = 0;
  for (int32_t tries = 0;; tries++) {
    if (try_lock(f, self, &seen)) return 1;
    if (seen == self) return 0;
    if (tries < SPINS) {
      sched_yield();
      continue;
    }
    int64_t now = now_ms();
    if (!ends) ends = now + LOCK_WAIT_MS;
    if (now >= ends) return 0;
    nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
  }
}

PERIGEE_API void perigee_board_move(perigee_board *board, double which) {
  atomic_fetch_add_explicit(&fence_of(board, which)->number, 1, memory_order_release);
}

static void unlock(fence *f) {
  atomic_store_explicit(&f->holder, 0, memory_order_release);
}

PERIGEE_API void perigee_board_unlock(perigee_board *board, double which, int32_t written,
                                      int32_t filled) {
  fence *f = fence_of(board, which);
  if (written) perigee_board_move(board, which);
  if (filled) atomic_fetch_add_explicit(&f->fills, 1, memory_order_release);
  unlock(f);
}

static void defer(fence *f, double until_ms) {
  if (f->deferred_until_ms < until_ms) f->deferred_until_ms = until_ms;
}

static int is_taken(const fence *f, double now_ms, int32_t self) {
  if (!f->worker || f->until_ms <= now_ms) return 0;
  return f->worker == self || !is_dead(f->worker);
}

PERIGEE_API double perigee_board_take(perigee_board *board, double hash, double token,
                                      double number, double now_ms, double until_ms, int32_t self) {
  fence *f = fence_of(board, hash);
  double answer = 0;
  if (!perigee_board_lock(board, hash, self)) return -1;
  int taken = is_taken(f, now_ms, self);
  if (taken && f->hash == hash && f->lease_number == number) {
    answer = f->token;
  } else if ((taken && f->hash != hash) || f->deferred_until_ms > now_ms) {
    defer(f, until_ms);
    answer = -1;
  } else {
    f->worker = self;
    f->hash = hash;
    f->token = token;
    f->lease_number = number;
    f->until_ms = until_ms;
  }
  unlock(f);
  return answer;
}

PERIGEE_API void perigee_board_renew(perigee_board *board, double hash, double token,
                                     double until_ms, int32_t self) {
  fence *f = fence_of(board, hash);
  if (!perigee_board_lock(board, hash, self)) return;
  if (f->token == token) f->until_ms = until_ms;
  unlock(f);
}

PERIGEE_API void perigee_board_give(perigee_board *board, double hash, double token, int32_t self) {
  fence *f = fence_of(board, hash);
  if (!perigee_board_lock(board, hash, self)) return;
  if (f->token == token) {
    f->worker = 0;
    f->token = 0;
  }
  unlock(f);
}

PERIGEE_API void perigee_board_defer(perigee_board *board, double hash, double until_ms,
                                     int32_t self) {
  if (!perigee_board_lock(board, hash, self)) return;
  defer(fence_of(board, hash), until_ms);
  unlock(fence_of(board, hash));
}
