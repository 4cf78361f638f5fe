/* SPDX-License-Identifier: MIT
 *
 * life.h: whether whoever began some work still lives.
 *
 * A host such as nginx ends a request without a word to the coroutines that ran in it: they are
 * never resumed. So work that runs in a request names its *life*: that of an *owner*, which is an
 * address (the request's). A life begins when it is first asked for, and is over when the host
 * calls perigee_life_end, from whatever list of clean-ups it keeps; from then on the address may
 * be another owner's, with a life of its own. An id is used again after half a billion lives only.
 *
 * One set of lives per process, for all its Lua states: a clean-up may be called when the state
 * that asked for it is closed. Not thread-safe. The library is linked so that it stays loaded.
 */
#ifndef PERIGEE_LIFE_H
#define PERIGEE_LIFE_H

#include "base/base.h"

/* ffi: begin */
/* perigee_life_of: the life of an owner, or 0 if it has none yet. */
double perigee_life_of(const void *owner);

/* perigee_life_begin: begins the life of an owner who has none. Returns its id, or 0 when memory is
 * out. The caller sees to it that the host calls perigee_life_end(perigee_life_data(id)), once.
 * `watch` is NULL, or a pointer of the host's that is NULL when the life is over before that; it is
 * borrowed until perigee_life_end. */
double perigee_life_begin(const void *owner, void *const *watch);
void *perigee_life_data(double life);
void perigee_life_end(void *data);

/* perigee_life_is_over: 1 if the life has ended, 0 while it lasts. */
int32_t perigee_life_is_over(double life);

/* perigee_life_work: so many works more (or fewer) have begun in this life and not ended. */
void perigee_life_work(double life, int32_t delta);

/* perigee_life_losses: how many works were left unfinished by lives that ended, ever. Looks at every
 * life that lasts. */
double perigee_life_losses(void);
/* ffi: end */

#endif
