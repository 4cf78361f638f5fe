/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "base/hash.h"

#include <sys/random.h>
#include <time.h>

uint64_t perigee_hash_random_seed(void) {
  uint64_t seed = 0;
  if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed) return seed | 1;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  uint64_t entropy = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
  return perigee_hash_fold(entropy ^ (uint64_t)(uintptr_t)&seed, PERIGEE_HASH_K1) | 1;
}
