/* SPDX-License-Identifier: MIT
 *
 * The handler notes the number and pokes the loop through ev_async_send, which may be called
 * from a handler; the watcher then fires the ticket in the loop's own time.
 */
#define _GNU_SOURCE
#include "rt/signals.h"

#include <ev.h>
#include <signal.h>

static const int numbers[] = {SIGINT, SIGTERM};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static struct {
  perigee_loop_guest guest; /* in no loop: nobody listens */
  struct ev_loop *ev;
  ev_async poke;
  double ticket;
  struct sigaction before[NUMBERS];
} listener;

static volatile sig_atomic_t arrived;

static void on_signal(int number) {
  if (!arrived) arrived = number;
  if (listener.ev) ev_async_send(listener.ev, &listener.poke);
}

static void on_poke(struct ev_loop *ev, ev_async *poke, int events) {
  (void)ev;
  (void)poke;
  (void)events;
  perigee_tickets_unpark(perigee_loop_tickets(listener.guest.loop), listener.ticket);
}

static void on_loop_closed(perigee_loop_guest *guest) {
  perigee_signals_restore(guest->loop);
}

static const perigee_loop_guest_kind kind = {.closed = on_loop_closed};

PERIGEE_API int32_t perigee_signals_listen(perigee_loop *loop) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
  if (listener.guest.loop) return -1;
  arrived = 0;
  perigee_loop_add(loop, &listener.guest, &kind);
  listener.ev = perigee_loop_ev(loop);
  listener.ticket = 0;
  ev_async_init(&listener.poke, on_poke);
  ev_async_start(listener.ev, &listener.poke);
  perigee_loop_expect(loop, 1);
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < NUMBERS; i++) sigaction(numbers[i], &action, &listener.before[i]);
  return 0;
}

PERIGEE_API void perigee_signals_await(perigee_loop *loop, double ticket) {
  if (listener.guest.loop != loop) return;
  listener.ticket = ticket;
  if (arrived) perigee_tickets_unpark(perigee_loop_tickets(loop), ticket);
}

PERIGEE_API int32_t perigee_signals_take(void) {
  int32_t number = arrived;
  arrived = 0;
  return number;
}

PERIGEE_API void perigee_signals_restore(perigee_loop *loop) {
  if (listener.guest.loop != loop) return;
  for (int i = 0; i < NUMBERS; i++) sigaction(numbers[i], &listener.before[i], NULL);
  struct ev_loop *ev = listener.ev;
  listener.ev = NULL;
  ev_async_stop(ev, &listener.poke);
  perigee_loop_expect(loop, -1);
  perigee_loop_remove(&listener.guest);
}
