/* SPDX-License-Identifier: MIT
 *
 * batch.h: keys that wait for company, collected per loader (the DataLoader idea, Facebook
 * 2010 / graphql/dataloader 2015).
 *
 * A *batch* is a list of loads (flight.h) with one due time. A registry holds at most one
 * *open* batch per loader (a number chosen by Lua); a batch closes when it is full or taken.
 * Duplicates never reach it: a key that is being loaded already is joined in flight.h.
 * Batch ids carry a generation; a stale id is a failed look-up. One registry per cache.
 */
#ifndef PERIGEE_BATCH_H
#define PERIGEE_BATCH_H

#include "base/base.h"

/* ffi: begin */
typedef struct perigee_batch perigee_batch;

perigee_batch *perigee_batch_new(void);
void perigee_batch_free(perigee_batch *batches);

/* perigee_batch_open: the open batch of `loader`, or 0. */
double perigee_batch_open(perigee_batch *batches, uint32_t loader);

/* perigee_batch_begin: opens a batch of at most `max` loads (at least 1) for `loader` (> 0; 0
 * makes an anonymous one that perigee_batch_open never finds), due at `due_ms`. An older open
 * batch of the loader stays valid, but is not found any more. 0: memory is out. */
double perigee_batch_begin(perigee_batch *batches, uint32_t loader, uint32_t max, double due_ms);

/* perigee_batch_add: appends a load. Returns the number of loads in it now (when that is
 * `max` the batch has closed and must be taken), 0 when memory is out, the batch is full or
 * the id is stale. */
uint32_t perigee_batch_add(perigee_batch *batches, double batch, double load);

/* perigee_batch_due_ms: when a batch must leave; infinity for a stale id. */
double perigee_batch_due_ms(perigee_batch *batches, double batch);

/* perigee_batch_take: closes the batch; returns its next load, in the order they came, and 0
 * (for a stale id too) after the last, when the batch is gone. One at a time, since whatever
 * else uses the registry may run between two calls. */
double perigee_batch_take(perigee_batch *batches, double batch);

/* perigee_batch_closed: a registry that is never freed, for what runs after the end of its own
 * (finalizers of a closing Lua state). One per thread. NULL: memory is out. */
perigee_batch *perigee_batch_closed(void);

const char *perigee_batch_verify(const perigee_batch *batches);
/* ffi: end */

#endif
