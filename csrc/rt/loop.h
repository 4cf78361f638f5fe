/* SPDX-License-Identifier: MIT
 *
 * loop.h: a private libev loop that waits for the world.
 *
 * The loop owns its tickets (ticket.h), processes (exec.h) and watches. A turn, driven by Lua:
 * poll, which waits for the world and fires the tickets of what happened; expire, with the time
 * of the turn; pull. The loop itself has no timers but the one that ends a poll: deadlines
 * belong to tickets and to the caller's clock, real or virtual.
 *
 * *Pending* are the things outside this process that may still fire a ticket: a process that
 * runs, a descriptor that is watched, signals that are listened to. When nothing is pending,
 * nothing is ready and there is no deadline, nobody can ever be woken.
 */
#ifndef PERIGEE_LOOP_H
#define PERIGEE_LOOP_H

#include "base/base.h"
#include "rt/ticket.h"

/* ffi: begin */
typedef struct perigee_loop perigee_loop;

/* Life. new returns NULL when memory or descriptors are out. free ends the processes that
 * still run (KILL to their groups) and reaps them. */
perigee_loop *perigee_loop_new(void);
void perigee_loop_free(perigee_loop *loop);

/* perigee_loop_tickets: the loop's tickets, borrowed while the loop lives. */
perigee_tickets *perigee_loop_tickets(perigee_loop *loop);

/* perigee_loop_pending: how many things outside may still fire a ticket. */
uint32_t perigee_loop_pending(const perigee_loop *loop);

/* perigee_loop_now: the machine's monotonic time in seconds, precise. */
double perigee_loop_now(void);

/* perigee_loop_poll: waits up to `wait_s` seconds (0: not at all; infinity: until something
 * happens) for the world. Returns at once when nothing is pending and `wait_s` is infinite. */
void perigee_loop_poll(perigee_loop *loop, double wait_s);

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
struct perigee_processes *perigee_loop_processes(perigee_loop *loop);

/* perigee_loop_expect: `delta` more things are pending. */
void perigee_loop_expect(perigee_loop *loop, int32_t delta);

/* perigee_loop_watch: `delta` more things may come in that nobody waits for: a poll looks for them,
 * and they keep no loop alive. */
void perigee_loop_watch(perigee_loop *loop, int32_t delta);

/* Whoever collects what to write: called before each poll, and when the loop is freed first. */
typedef struct perigee_loop_writer {
  perigee_loop *loop; /* NULL: in no list */
  struct perigee_loop_writer *next, **link;
  void (*before_wait)(struct perigee_loop_writer *writer);
  void (*closed)(struct perigee_loop_writer *writer);
} perigee_loop_writer;

void perigee_loop_add_writer(perigee_loop *loop, perigee_loop_writer *writer);
void perigee_loop_remove_writer(perigee_loop_writer *writer);

#endif
