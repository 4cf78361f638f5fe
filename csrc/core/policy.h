/* SPDX-License-Identifier: MIT
 *
 * policy.h: what an eviction policy is. Private to the core; one policy, one file.
 *
 * A policy orders the live entries of a store in up to three queues. A hit only raises the
 * entry's visit count, up to `max_visits`; `on_hit` is for those that must do more.
 */
#ifndef PERIGEE_POLICY_H
#define PERIGEE_POLICY_H

#include "core/entry.h"
#include "core/ghost.h"

enum { PERIGEE_POLICY_QUEUES = 3 };

typedef struct perigee_order {
  perigee_entry *entries; /* borrowed from the store, as are the nodes */
  perigee_node *nodes;
  perigee_queue queues[PERIGEE_POLICY_QUEUES];
  uint32_t limit; /* entries that the store may hold now (its live count when unbounded) */
  uint32_t hand;  /* SIEVE: where to look next */
  perigee_ghost ghost;
} perigee_order;

typedef struct perigee_policy {
  const char *name;
  uint32_t max_visits;
  int has_ghost;
  void (*on_insert)(perigee_order *order, uint32_t slot);
  void (*on_hit)(perigee_order *order, uint32_t slot); /* or NULL */
  void (*on_remove)(perigee_order *order, uint32_t slot);
  /* The entry to give up, still in its queue, or PERIGEE_NONE when there is none. */
  uint32_t (*victim)(perigee_order *order);
} perigee_policy;

extern const perigee_policy perigee_policy_fifo;
extern const perigee_policy perigee_policy_lru;
extern const perigee_policy perigee_policy_sieve;
extern const perigee_policy perigee_policy_s3fifo;

#endif
