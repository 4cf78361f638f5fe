/* SPDX-License-Identifier: MIT
 *
 * libev does the waiting; everything it reports becomes a fired ticket at once, so its callbacks
 * are one or two lines and never call back out. Watches on descriptors are in a doubly linked
 * list, each pending until it fires.
 */
#include "rt/loop.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <math.h>
#include <time.h>
#include <unistd.h>

typedef struct watch {
  ev_io io; /* first: libev hands this address back */
  perigee_loop *loop;
  double ticket;
  struct watch *next, **link;
} watch;

struct perigee_loop {
  struct ev_loop *ev;
  perigee_tickets *tickets;
  watch *watches;
  ev_timer wake; /* ends a poll */
  perigee_loop_guest *guests;
  uint32_t pending;
  uint32_t watching;
};

static void on_wake(struct ev_loop *ev, ev_timer *timer, int events) {
  (void)timer;
  (void)events;
  ev_break(ev, EVBREAK_ONE);
}

PERIGEE_API perigee_loop *perigee_loop_new(void) {
  perigee_loop *loop = perigee_zalloc(sizeof *loop);
  if (!loop) return NULL;
  loop->tickets = perigee_tickets_new();
  loop->ev = loop->tickets ? ev_loop_new(EVFLAG_AUTO) : NULL;
  ev_timer_init(&loop->wake, on_wake, 0, 0);
  if (loop->ev) return loop;
  perigee_loop_free(loop);
  return NULL;
}

static void end_watch(watch *w) {
  ev_io_stop(w->loop->ev, &w->io);
  perigee_loop_expect(w->loop, -1);
  *w->link = w->next;
  if (w->next) w->next->link = w->link;
  perigee_dealloc(w);
}

PERIGEE_API void perigee_loop_free(perigee_loop *loop) {
  if (!loop) return;
  while (loop->guests) loop->guests->kind->closed(loop->guests);
  while (loop->watches) end_watch(loop->watches);
  if (loop->ev) ev_loop_destroy(loop->ev);
  perigee_tickets_free(loop->tickets);
  perigee_dealloc(loop);
}

PERIGEE_API perigee_tickets *perigee_loop_tickets(perigee_loop *loop) {
  return loop->tickets;
}

PERIGEE_API uint32_t perigee_loop_pending(const perigee_loop *loop) {
  return loop->pending;
}

struct ev_loop *perigee_loop_ev(perigee_loop *loop) {
  return loop->ev;
}

void perigee_loop_expect(perigee_loop *loop, int32_t delta) {
  loop->pending += (uint32_t)delta;
}

void perigee_loop_watch(perigee_loop *loop, int32_t delta) {
  loop->watching += (uint32_t)delta;
}

void perigee_loop_add(perigee_loop *loop, perigee_loop_guest *guest,
                      const perigee_loop_guest_kind *kind) {
  guest->loop = loop;
  guest->kind = kind;
  guest->next = loop->guests;
  guest->link = &loop->guests;
  if (guest->next) guest->next->link = &guest->next;
  loop->guests = guest;
}

void perigee_loop_remove(perigee_loop_guest *guest) {
  if (!guest->link) return;
  *guest->link = guest->next;
  if (guest->next) guest->next->link = guest->link;
  guest->loop = NULL;
  guest->link = NULL;
}

perigee_loop_guest *perigee_loop_find(const perigee_loop *loop,
                                      const perigee_loop_guest_kind *kind) {
  perigee_loop_guest *guest = loop->guests;
  while (guest && guest->kind != kind) guest = guest->next;
  return guest;
}

static void let_write(perigee_loop *loop) {
  for (perigee_loop_guest *guest = loop->guests, *next; guest; guest = next) {
    next = guest->next;
    if (guest->kind->before_wait) guest->kind->before_wait(guest);
  }
}

PERIGEE_API double perigee_loop_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

PERIGEE_API int32_t perigee_loop_may_wake(const perigee_loop *loop) {
  return loop->pending || perigee_tickets_ready(loop->tickets) ||
         isfinite(perigee_tickets_next(loop->tickets));
}

PERIGEE_API void perigee_loop_poll(perigee_loop *loop, double wait_s, double deadline) {
  let_write(loop);
  if (perigee_tickets_ready(loop->tickets)) wait_s = 0; /* what was written, or could not be */
  if (perigee_tickets_next(loop->tickets) < deadline) wait_s = 0;
  if (!(wait_s > 0)) {
    if (loop->pending || loop->watching) ev_run(loop->ev, EVRUN_NOWAIT);
    return;
  }
  if (isinf(wait_s)) {
    if (loop->pending) ev_run(loop->ev, EVRUN_ONCE);
    return;
  }
  ev_now_update(loop->ev);
  ev_timer_set(&loop->wake, wait_s, 0);
  ev_timer_start(loop->ev, &loop->wake);
  ev_run(loop->ev, EVRUN_ONCE);
  ev_timer_stop(loop->ev, &loop->wake);
}

static void on_readable(struct ev_loop *ev, ev_io *io, int events) {
  (void)ev;
  (void)events;
  watch *w = (watch *)io;
  perigee_tickets_unpark(w->loop->tickets, w->ticket);
  end_watch(w);
}

PERIGEE_API int32_t perigee_loop_readable(perigee_loop *loop, int32_t fd, double ticket) {
  if (fcntl(fd, F_GETFD) < 0) { /* libev aborts on a descriptor that is closed */
    perigee_tickets_unpark(loop->tickets, ticket);
    return 0;
  }
  watch *w = perigee_zalloc(sizeof *w);
  if (!w) return -1;
  w->loop = loop;
  w->ticket = ticket;
  w->next = loop->watches;
  w->link = &loop->watches;
  if (w->next) w->next->link = &w->next;
  loop->watches = w;
  ev_io_init(&w->io, on_readable, fd, EV_READ);
  ev_io_start(loop->ev, &w->io);
  perigee_loop_expect(loop, 1);
  return 0;
}

PERIGEE_API int32_t perigee_loop_read(int32_t fd, char *buffer, uint32_t size) {
  ssize_t n;
  do {
    n = read(fd, buffer, size);
  } while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : (int32_t)n;
}

PERIGEE_API int32_t perigee_loop_is_terminal(int32_t fd) {
  return isatty(fd);
}

PERIGEE_API const char *perigee_loop_verify(const perigee_loop *loop) {
  uint32_t watches = 0;
  for (const watch *w = loop->watches; w; w = w->next) {
    watches++;
    PERIGEE_VERIFY(*w->link == w);
    PERIGEE_VERIFY(w->loop == loop && ev_is_active(&w->io));
  }
  PERIGEE_VERIFY(loop->pending >= watches);
  for (const perigee_loop_guest *guest = loop->guests; guest; guest = guest->next) {
    PERIGEE_VERIFY(*guest->link == guest && guest->loop == loop);
    const char *broken = guest->kind->verify ? guest->kind->verify(guest) : NULL;
    if (broken) return broken;
  }
  return perigee_tickets_verify(loop->tickets);
}
