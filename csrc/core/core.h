/* SPDX-License-Identifier: MIT
 *
 * core.h: the C core of Perigee, and where to go from here.
 *
 *   store.h   entries by identity, expiry, eviction, tags, counters   (who lives)
 *   tags.h    versions of tag paths: invalidation without walking
 *   flight.h  loads that run, who waits for them, what may be kept
 *   batch.h   keys collected per loader
 *   clock.h   the one source of "now"
 *   serialized.h  whether bytes from outside may be decoded
 *   guard.h   an agent that spends without learning
 *   life.h    whether the request in which some work began still lives
 *   words.h   versions in memory that processes share
 *   histogram.h  how many events took how long
 *
 * The core holds no values, calls no Lua and no event loop, and is not thread-safe: one set of
 * these objects belongs to one Lua state. Lua pulls everything: see docs/architecture.md.
 */
#ifndef PERIGEE_CORE_H
#define PERIGEE_CORE_H

#include "base/base.h"

/* ffi: begin */
enum { PERIGEE_CORE_ABI = 8 }; /* changes whenever a declaration in an ffi block changes */

/* perigee_core_abi: the PERIGEE_CORE_ABI this library was built with. */
int32_t perigee_core_abi(void);

/* perigee_core_fail_at: makes the n-th allocation of the core from now fail, once (tests). Returns
 * what was left of the last order; 0: it has been carried out, or there was none. */
uint32_t perigee_core_fail_at(uint32_t n);

/* perigee_core_random: 32 bits that nobody can guess. */
uint32_t perigee_core_random(void);

/* perigee_core_states: how many Lua states have entered Perigee in this process and its ancestors;
 * with `entered`, this is another one. */
double perigee_core_states(int32_t entered);

/* perigee_core_bool: a static address that stands for a boolean key. */
const char *perigee_core_bool(int32_t value);
/* ffi: end */

#endif
