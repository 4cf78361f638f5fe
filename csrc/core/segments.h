/* SPDX-License-Identifier: MIT
 *
 * segments.h: one structure that can be TinyLFU, S3-FIFO or LRU, and turns from one into another
 * at once. Private to the core.
 *
 *      miss            admitted              used again
 *   ──────────► window ─────────► probation ────────────► protected (80 % of main)
 *                 │                  │   ▲  ◄──────────────   │
 *                 ▼ refused          ▼   └── overflows ───────┘
 *
 * The window is the first queue, probation and protected together are the main part. The rule of
 * a setting says who passes from the window to main, and who goes for it:
 *
 *   CONTEST  The oldest of the window against the oldest of probation: whose key was used less
 *            lately goes. Window and main are LRU. (W-TinyLFU: Einziger, Friedman, Manes, ACM ToS
 *            2017.) The newcomer must win by more than the margin: with 1 or more, a loop that
 *            is longer than the cache keeps what it has.
 *   GHOST    Who was visited twice in the window, or is remembered by the ghost; hits move
 *            nobody, and main gives the visited another round. (S3-FIFO: see policy_s3fifo.c.)
 *   RECENCY  Nobody. Hits move entries to the window's head; main only empties.
 */
#ifndef PERIGEE_SEGMENTS_H
#define PERIGEE_SEGMENTS_H

#include "core/order.h"

enum { PERIGEE_RULE_CONTEST, PERIGEE_RULE_GHOST, PERIGEE_RULE_RECENCY };

enum { PERIGEE_SEGMENTS_VISITS = 3 }; /* the most that is counted */

/* A new entry, whose content is in its node. */
void perigee_segments_insert(perigee_order *order, uint32_t slot);

/* It was used; its visits have been raised. */
void perigee_segments_touch(perigee_order *order, uint32_t slot);

/* Who goes: still in a queue; or PERIGEE_NONE. */
uint32_t perigee_segments_victim(perigee_order *order);

#endif
