/* SPDX-License-Identifier: MIT
 *
 * policy.h: what an eviction policy is. Private to the core; one policy, one file.
 *
 * A policy orders the live entries of a store in up to three queues. A hit raises the entry's
 * visits, up to `max_visits`; `on_hit` is for those that must do more, and only told of hits on
 * entries of fewer visits than `order.heed_below`.
 */
#ifndef PERIGEE_POLICY_H
#define PERIGEE_POLICY_H

#include "core/order.h"

typedef struct perigee_policy {
  const char *name;
  uint32_t max_visits;
  int hears_hits; /* of all of them from the start: order.heed_below begins without a bound */
  int remembers;  /* needs the hash of each key's bytes */
  perigee_setting setting; /* that its order begins with */
  /* Takes the memory that only evicting needs, for so many entries; called before an eviction,
   * again when the number has changed a lot. Without memory it evicts less well. Or NULL. */
  void (*equip)(perigee_order *order, uint32_t entries);
  void (*strip)(perigee_order *order); /* gives it back, or NULL */
  void (*on_insert)(perigee_order *order, uint32_t slot);
  void (*on_hit)(perigee_order *order, uint32_t slot);   /* or NULL */
  void (*on_write)(perigee_order *order, uint32_t slot); /* a new value for the key; or NULL */
  void (*on_remove)(perigee_order *order, uint32_t slot);
  void (*settle)(perigee_order *order); /* does what was put off; before a clear; or NULL */
  /* The entry to give up, still in its queue, or PERIGEE_NONE when there is none. */
  uint32_t (*victim)(perigee_order *order);
  const char *(*verify)(const perigee_order *order); /* NULL, or what is broken; or NULL */
} perigee_policy;

extern const perigee_policy perigee_policy_fifo;
extern const perigee_policy perigee_policy_lru;
extern const perigee_policy perigee_policy_sieve;
extern const perigee_policy perigee_policy_s3fifo;
extern const perigee_policy perigee_policy_wtinylfu;
extern const perigee_policy perigee_policy_auto;

#endif
