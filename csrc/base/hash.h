/* SPDX-License-Identifier: MIT
 *
 * hash.h: seeded hashing. The mixing step is the folded 64 x 64 -> 128 bit multiply of
 * Wang Yi's wyhash (public domain). Keys crafted without knowing the seed gain nothing.
 */
#ifndef PERIGEE_HASH_H
#define PERIGEE_HASH_H

#include <stdint.h>
#include <string.h>

#define PERIGEE_HASH_K0 0x9E3779B97F4A7C15ull
#define PERIGEE_HASH_K1 0xE7037ED1A0B428DBull
#define PERIGEE_HASH_K2 0x8EBC6AF09C88C6E3ull

/* Folds the 128-bit product of a and b to 64 bits: every input bit reaches every output bit. */
static inline uint64_t perigee_hash_fold(uint64_t a, uint64_t b) {
  __uint128_t product = (__uint128_t)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t perigee_hash_word(uint64_t word, uint64_t seed) {
  return perigee_hash_fold(word ^ seed, PERIGEE_HASH_K0);
}

/* Reads up to 16 bytes into two words, which overlap: as in wyhash, no call and no loop. */
static inline void perigee_hash_tail(const char *bytes, size_t length, uint64_t *a, uint64_t *b) {
  uint32_t first, last;
  if (length >= 8) {
    memcpy(a, bytes, 8);
    memcpy(b, bytes + length - 8, 8);
  } else if (length >= 4) {
    memcpy(&first, bytes, 4);
    memcpy(&last, bytes + length - 4, 4);
    *a = first;
    *b = last;
  } else {
    const unsigned char *byte = (const unsigned char *)bytes;
    *a = length ? (uint64_t)byte[0] << 16 | (uint64_t)byte[length / 2] << 8 | byte[length - 1] : 0;
    *b = 0;
  }
}

/* Hash of `length` bytes; equal bytes give equal hashes wherever they are stored. */
static inline uint64_t perigee_hash_bytes(const char *bytes, size_t length, uint64_t seed) {
  uint64_t hash = seed ^ (length * PERIGEE_HASH_K1), a, b;
  while (length > 16) {
    memcpy(&a, bytes, 8);
    memcpy(&b, bytes + 8, 8);
    hash = perigee_hash_fold(a ^ PERIGEE_HASH_K1, b ^ hash);
    bytes += 16;
    length -= 16;
  }
  perigee_hash_tail(bytes, length, &a, &b);
  return perigee_hash_fold(a ^ PERIGEE_HASH_K2, b ^ hash) ^ hash;
}

/* 0 .. count - 1, by the high bits of a hash (Lemire: "Fast random integer generation in an
 * interval", ACM TOMACS 2019). */
static inline uint32_t perigee_hash_range(uint32_t hash, uint32_t count) {
  return (uint32_t)(((uint64_t)hash * count) >> 32);
}

/* 16 bits of a hash, the low ones; never 0. */
static inline uint32_t perigee_hash_fingerprint(uint32_t hash) {
  return (hash & 0xFFFF) ? hash & 0xFFFF : 1;
}

/* A seed that differs from process to process (getrandom, else clock and address). */
uint64_t perigee_hash_random_seed(void);

/* xorshift64*, Vigna 2016: the next pseudo-random word of a non-zero state. */
static inline uint64_t perigee_random_next(uint64_t *state) {
  uint64_t x = *state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  *state = x;
  return x * 0x2545F4914F6CDD1Dull;
}

#endif
