/* SPDX-License-Identifier: MIT
 *
 * loop.h: a private libev loop that waits for the world.
 *
 * The loop owns its tickets (ticket.h) and watches; processes, HTTP and the like are its guests. A
 * turn, driven by Lua: poll, which waits for the world and fires the tickets of what happened;
 * expire, with the time of the turn; pull. The loop itself has no timers but the one that ends a
 * poll: deadlines belong to tickets and to the caller's clock, real or virtual.
 *
 * *Pending* are the things outside this process that may still fire a ticket: a process that
 * runs, a descriptor that is watched, a response, signals that are listened to. When nothing is
 * pending, nothing is ready and there is no deadline, nobody can ever be woken.
 */
#ifndef PERIGEE_LOOP_H
#define PERIGEE_LOOP_H

#include "base/base.h"
#include "rt/ticket.h"

/* ffi: begin */
typedef struct perigee_loop perigee_loop;

/* Life. new returns NULL when memory or descriptors are out. free ends its guests: processes that
 * still run get a KILL to their groups and are reaped, HTTP transfers are broken off. */
perigee_loop *perigee_loop_new(void);
void perigee_loop_free(perigee_loop *loop);

/* perigee_loop_tickets: the loop's tickets, borrowed while the loop lives. */
perigee_tickets *perigee_loop_tickets(perigee_loop *loop);

/* perigee_loop_pending: how many things outside may still fire a ticket. */
uint32_t perigee_loop_pending(const perigee_loop *loop);

/* perigee_loop_now: the machine's monotonic time in seconds, precise. */
double perigee_loop_now(void);

/* perigee_loop_may_wake: 1 if a ticket is ready, has a deadline, or may be fired from outside. */
int32_t perigee_loop_may_wake(const perigee_loop *loop);

/* perigee_loop_poll: waits up to `wait_s` seconds (0: not at all; infinity: until something
 * happens) for the world. Returns at once when nothing is pending and `wait_s` is infinite; and when
 * a ticket is ready, or has a deadline before `deadline`: a finalizer came by, after the caller had
 * looked for the earliest. */
void perigee_loop_poll(perigee_loop *loop, double wait_s, double deadline);

/* perigee_loop_readable: fires `ticket` when `fd` can be read without blocking (or is at its
 * end, or closed). It must stay open until then. 0, or -1 when memory is out. */
int32_t perigee_loop_readable(perigee_loop *loop, int32_t fd, double ticket);

/* perigee_loop_read: read(2) into `buffer`: the count, 0 at the end, or -errno. */
int32_t perigee_loop_read(int32_t fd, char *buffer, uint32_t size);

/* perigee_loop_is_terminal: 1 if `fd` is a terminal. */
int32_t perigee_loop_is_terminal(int32_t fd);

/* perigee_loop_verify: NULL, or what is broken. */
const char *perigee_loop_verify(const perigee_loop *loop);
/* ffi: end */

struct ev_loop;

/* For the other files of this folder. */
struct ev_loop *perigee_loop_ev(perigee_loop *loop);

/* perigee_loop_expect: `delta` more things are pending. */
void perigee_loop_expect(perigee_loop *loop, int32_t delta);

/* perigee_loop_watch: `delta` more things may come in that nobody waits for: a poll looks for them,
 * and they keep no loop alive. */
void perigee_loop_watch(perigee_loop *loop, int32_t delta);

/* Who lives in a loop: it hears of each poll, and when the loop is freed (the newest guest first,
 * tickets and libev last). */
typedef struct perigee_loop_guest perigee_loop_guest;

typedef struct perigee_loop_guest_kind {
  void (*before_wait)(perigee_loop_guest *guest);         /* writes what was collected; or NULL */
  void (*closed)(perigee_loop_guest *guest);              /* must remove the guest */
  const char *(*verify)(const perigee_loop_guest *guest); /* or NULL */
} perigee_loop_guest_kind;

struct perigee_loop_guest {
  perigee_loop *loop; /* NULL: in no list */
  perigee_loop_guest *next, **link;
  const perigee_loop_guest_kind *kind;
};

void perigee_loop_add(perigee_loop *loop, perigee_loop_guest *guest,
                      const perigee_loop_guest_kind *kind);
void perigee_loop_remove(perigee_loop_guest *guest);

/* perigee_loop_find: the newest guest of this kind, or NULL. */
perigee_loop_guest *perigee_loop_find(const perigee_loop *loop,
                                      const perigee_loop_guest_kind *kind);

#endif
