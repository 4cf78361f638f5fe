/* SPDX-License-Identifier: MIT
 *
 * ticket.h: who waits, until when, and who is to be woken.
 *
 * Terms. A *slot* belongs to one thread of control for as long as that lives. Its *ticket* is
 * the number for its next wait: slot + PERIGEE_TICKET_SLOTS * generation. A wait ends when the
 * ticket is *fired* (unparked by somebody, or by its deadline) or *renewed* by its holder; both
 * raise the generation, so that the old number is *stale*: firing it again does nothing. The
 * holder's next ticket is that number + PERIGEE_TICKET_SLOTS: Lua adds it for itself.
 *
 * Fired tickets stand in a ring, first come first, until Lua pulls them. A slot is in the ring
 * at most once and the ring has room for all slots: firing allocates nothing and cannot fail.
 *
 * Who has nothing to do *rests*: the pool of workers is here, as a call of C is one step, which a
 * finalizer of Lua's can come before or after, never in between.
 */
#ifndef PERIGEE_TICKET_H
#define PERIGEE_TICKET_H

#include "base/base.h"

/* ffi: begin */
enum { PERIGEE_TICKET_SLOTS = 4194304 };

typedef struct perigee_tickets perigee_tickets;

/* A fired ticket, as Lua pulls it. */
typedef struct perigee_completion {
  double ticket;    /* the number that is stale now */
  int32_t slot;     /* ticket % PERIGEE_TICKET_SLOTS */
  int32_t unparked; /* 1: somebody unparked it; 0: its deadline passed */
} perigee_completion;

/* perigee_tickets_closed: tickets that are never freed, for what runs after the end of its own
 * (finalizers of a closing Lua state). One per thread. NULL: memory is out. */
perigee_tickets *perigee_tickets_closed(void);

/* perigee_tickets_hold: takes a slot; its first ticket, or 0 when memory is out. */
double perigee_tickets_hold(perigee_tickets *tickets);

/* perigee_tickets_release: gives the slot of `ticket` back; all its tickets are stale. Does nothing
 * while its holder rests. */
void perigee_tickets_release(perigee_tickets *tickets, double ticket);

/* perigee_tickets_rest: the holder of this slot has nothing to do, and may be roused for other work.
 * Returns 1; or 0 when 16,384 rest already: nothing has changed then. */
int32_t perigee_tickets_rest(perigee_tickets *tickets, int32_t slot);

/* perigee_tickets_rouse: the slot that came to rest last, which rests no longer; -1: none does. */
int32_t perigee_tickets_rouse(perigee_tickets *tickets);

/* perigee_tickets_renew: the holder waits no longer: `ticket` becomes stale without a wake-up.
 * Does nothing when it was fired already. */
void perigee_tickets_renew(perigee_tickets *tickets, double ticket);

/* perigee_tickets_unpark: fires the ticket. Returns its slot, or -1 if it is stale. */
int32_t perigee_tickets_unpark(perigee_tickets *tickets, double ticket);

/* perigee_tickets_deadline: fires the ticket at the first expire whose time is `at` or later. */
void perigee_tickets_deadline(perigee_tickets *tickets, double ticket, double at);

/* perigee_tickets_next: the earliest deadline; infinity when there is none. */
double perigee_tickets_next(const perigee_tickets *tickets);

/* perigee_tickets_expire: fires the tickets whose deadline has come. Returns how many tickets
 * stand in the ring: one turn wakes these, those fired meanwhile wait for the next turn. */
uint32_t perigee_tickets_expire(perigee_tickets *tickets, double now);

/* perigee_tickets_ready: how many tickets stand in the ring. */
uint32_t perigee_tickets_ready(const perigee_tickets *tickets);

/* perigee_tickets_pull: takes up to `limit` tickets out of the ring, at most a chunk of them.
 * Returns their number; perigee_tickets_chunk lends them, until the next pull. */
uint32_t perigee_tickets_pull(perigee_tickets *tickets, uint32_t limit);
const perigee_completion *perigee_tickets_chunk(const perigee_tickets *tickets);

/* perigee_tickets_held: how many slots are taken. */
uint32_t perigee_tickets_held(const perigee_tickets *tickets);

const char *perigee_tickets_verify(const perigee_tickets *tickets);
/* ffi: end */

perigee_tickets *perigee_tickets_new(void);
void perigee_tickets_free(perigee_tickets *tickets);

#endif
