/* SPDX-License-Identifier: MIT
 *
 * shadows.h: small caches of hashes that try out settings for a big one. Private to the core.
 *
 * One in so many keys, chosen by hash, is shown to a shadow for each setting, whose size is to
 * the cache's as one to that number: its hit ratio is about what the cache's would be (Waldspurger,
 * Saemundsson, Ahmad, Park: "Cache Modeling and Optimization using Miniature Simulations", USENIX
 * ATC 2017). After each period, each setting is credited with the hits that it had more than the
 * cache itself for the same keys, or debited, never below zero; when a credit passes the
 * threshold, its setting is chosen (Page: "Continuous inspection schemes", Biometrika 1954). So
 * small advantages count if they last, and chance does not. Each choice doubles the threshold, up
 * to a bound; time takes that back. When a choice has stood for long, the shadows work in bursts
 * and rest in between, up to seven eighths of the time.
 *
 *   node    | next in bucket : 16 | : 8 | mark : 8 |  hash  |  newer  |  older  |    16 bytes
 */
#ifndef PERIGEE_SHADOWS_H
#define PERIGEE_SHADOWS_H

#include "core/order.h"

enum { PERIGEE_SHADOWS = 6 };

extern const perigee_setting perigee_shadows_settings[PERIGEE_SHADOWS];

typedef struct perigee_shadow {
  perigee_order order;
  uint16_t *buckets; /* slot + 1, or 0 */
  uint32_t used;
  uint32_t hits; /* in this period */
  double credit; /* hits */
} perigee_shadow;

typedef struct perigee_shadows {
  perigee_shadow each[PERIGEE_SHADOWS];
  void *memory;     /* of their arrays; NULL: there are none */
  uint32_t entries; /* of each shadow */
  uint32_t sample;  /* hashes below this are shown to them */
  uint32_t shift;   /* from a hash to a bucket */
  uint32_t shown;   /* requests in this period */
  uint32_t hits;    /* those that the cache answered */
  uint32_t chosen;  /* the current setting */
  uint32_t choices; /* how often it was changed, less what time has taken back */
  uint32_t calm;    /* periods since */
  uint32_t rest;    /* requests that are not shown, from now on */
  uint32_t warm_up; /* periods that are not judged, from now on */
} perigee_shadows;

/* perigee_shadows_init: for a cache of so many entries; they look at its sketch. 0, or -1: memory
 * is out. */
int perigee_shadows_init(perigee_shadows *shadows, uint32_t entries, const perigee_sketch *sketch);
void perigee_shadows_fini(perigee_shadows *shadows);
size_t perigee_shadows_bytes(const perigee_shadows *shadows);

const char *perigee_shadows_verify(const perigee_shadows *shadows);

/* perigee_shadows_show: one of the chosen keys was asked for, and the cache had it or not. 1:
 * another setting has been chosen. */
int perigee_shadows_show(perigee_shadows *shadows, uint32_t content, int was_hit);

/* perigee_shadows_observe: the same for any key. */
static inline int perigee_shadows_observe(perigee_shadows *shadows, uint32_t content, int was_hit) {
  if (content * 0x85EBCA6Bu >= shadows->sample) return 0;
  if (shadows->rest > 0) {
    shadows->rest--;
    return 0;
  }
  return perigee_shadows_show(shadows, content, was_hit);
}

#endif
