/* SPDX-License-Identifier: MIT
 *
 * One process: three streams, a pidfd, and a timer that bounds the draining after its exit.
 *
 *   start ──► running ──(pidfd: reaped)──► draining ──(both pipes at their end, or the timer)──► ended
 *
 * libev's child watchers are not used: on a private loop they abort, on the default loop they
 * reap everybody's children.
 */
#define _GNU_SOURCE
#include "rt/exec.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "rt/spawn.h"
#include "rt/stream.h"

enum { ID_SLOTS = 65536, FREE_TRIES = 50, FREE_STEP_MS = 10 };
static const double DRAIN_S = 0.25;

typedef struct processes processes;

typedef struct process {
  processes *all;
  perigee_loop *loop;
  perigee_input in;
  perigee_output out, err;
  ev_io exit;     /* on the pidfd */
  ev_timer drain; /* runs from exit to the end of the outputs */
  pid_t pid;
  uint32_t index;
  int status; /* of waitpid */
  double ticket;
  uint8_t reaped, reap_failed, ended, stopped, forgotten;
} process;

/* The processes of a loop. */
struct processes {
  perigee_loop_guest guest; /* first: the loop hands this address back */
  process **slots;          /* NULL: free */
  uint32_t *generations;
  uint32_t count, capacity, generations_capacity, running;
};

static void on_loop_closed(perigee_loop_guest *guest);
static const char *verify(const perigee_loop_guest *guest);

static const perigee_loop_guest_kind kind = {.closed = on_loop_closed, .verify = verify};

/* Those of the loop, or NULL if it never had any. */
static processes *processes_of(const perigee_loop *loop) {
  return (processes *)perigee_loop_find(loop, &kind);
}

/* The same, made when there are none; NULL when memory is out. */
static processes *made_processes_of(perigee_loop *loop) {
  processes *all = processes_of(loop);
  if (all) return all;
  all = perigee_zalloc(sizeof *all);
  if (all) perigee_loop_add(loop, &all->guest, &kind);
  return all;
}

/* A free index, or -1 when memory is out. */
static int64_t free_index(processes *all) {
  for (uint32_t i = 0; i < all->count; i++) {
    if (!all->slots[i]) return i;
  }
  uint32_t needed = all->count + 1;
  if (needed > ID_SLOTS) return -1;
  if (perigee_grow((void **)&all->slots, &all->capacity, needed, sizeof *all->slots)) return -1;
  if (perigee_grow((void **)&all->generations, &all->generations_capacity, needed,
                   sizeof *all->generations)) {
    return -1;
  }
  all->slots[all->count] = NULL;
  all->generations[all->count] = 0;
  return all->count++;
}

static process *find(perigee_loop *loop, double id) {
  processes *all = processes_of(loop);
  if (!all || !(id >= ID_SLOTS && id < 0x1p53)) return NULL;
  uint64_t number = (uint64_t)id;
  uint32_t index = number % ID_SLOTS;
  if (index >= all->count || all->generations[index] != number / ID_SLOTS) return NULL;
  process *p = all->slots[index];
  return p && !p->forgotten ? p : NULL;
}

static void dispose(process *p) {
  p->all->slots[p->index] = NULL;
  perigee_input_close(&p->in);
  perigee_output_fini(&p->out);
  perigee_output_fini(&p->err);
  perigee_dealloc(p);
}

/* Ends what is not ended yet when the process is reaped and no output is open. */
static void settle(process *p) {
  if (p->ended || !p->reaped) return;
  if (perigee_output_is_open(&p->out) || perigee_output_is_open(&p->err)) return;
  p->ended = 1;
  ev_timer_stop(perigee_loop_ev(p->loop), &p->drain);
  perigee_input_close(&p->in);
  perigee_loop_expect(p->loop, -1);
  if (p->ticket) perigee_tickets_unpark(perigee_loop_tickets(p->loop), p->ticket);
  if (p->forgotten) dispose(p);
}

static void close_outputs(process *p) {
  perigee_output_close(&p->out);
  perigee_output_close(&p->err);
}

static void on_drained(struct ev_loop *ev, ev_timer *timer, int events) {
  process *p = timer->data;
  (void)ev;
  (void)events;
  perigee_output_read(&p->out);
  perigee_output_read(&p->err);
  close_outputs(p);
  settle(p);
}

/* Reaps the process if it has exited. While it is a zombie its group keeps its number, so this
 * is the last moment at which the rest of the group can be killed safely. */
static void reap(process *p) {
  siginfo_t info = {0};
  if (p->reaped) return;
  int failed = waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT);
  if (!failed && info.si_pid == 0) return;
  if (!failed && p->stopped) kill(-p->pid, SIGKILL);
  p->reap_failed = failed || waitpid(p->pid, &p->status, WNOHANG) != p->pid;
  p->reaped = 1;
  p->all->running--;
  ev_io_stop(perigee_loop_ev(p->loop), &p->exit);
  close(p->exit.fd);
}

static void on_exit_of(struct ev_loop *ev, ev_io *io, int events) {
  process *p = io->data;
  (void)events;
  reap(p);
  if (!p->reaped) return;
  if (p->forgotten) close_outputs(p);
  ev_timer_set(&p->drain, DRAIN_S, 0);
  ev_timer_start(ev, &p->drain);
  settle(p);
}

static void on_output_changed(void *owner) {
  process *p = owner;
  if (p->out.overflow || p->err.overflow) {
    close_outputs(p);
    p->stopped = 1;
    if (!p->reaped) kill(-p->pid, SIGKILL);
  }
  settle(p);
}

static void watch(process *p, const perigee_child *child, double max_output) {
  struct ev_loop *ev = perigee_loop_ev(p->loop);
  p->pid = child->pid;
  perigee_input_open(&p->in, ev, child->in);
  perigee_output_open(&p->out, ev, child->out, max_output, on_output_changed, p);
  perigee_output_open(&p->err, ev, child->err, max_output, on_output_changed, p);
  ev_io_init(&p->exit, on_exit_of, child->pidfd, EV_READ);
  p->exit.data = p;
  ev_io_start(ev, &p->exit);
  ev_timer_init(&p->drain, on_drained, 0, 0);
  p->drain.data = p;
}

PERIGEE_API double perigee_exec_start(perigee_loop *loop, const char *const *argv,
                                      const char *input, double input_bytes, double max_output) {
  processes *all = made_processes_of(loop);
  perigee_child child;
  int64_t index = all ? free_index(all) : -1;
  process *p = index >= 0 ? perigee_zalloc(sizeof *p) : NULL;
  if (!p) return -ENOMEM;
  p->all = all;
  p->loop = loop;
  p->index = (uint32_t)index;
  int failed = perigee_input_init(&p->in, input, input ? (size_t)input_bytes : 0)
                 ? ENOMEM
                 : perigee_spawn(&child, argv, input != NULL);
  if (failed) {
    perigee_input_close(&p->in);
    perigee_dealloc(p);
    return -failed;
  }
  watch(p, &child, max_output);
  all->slots[index] = p;
  all->running++;
  perigee_loop_expect(loop, 1);
  return (double)++all->generations[index] * ID_SLOTS + (double)index;
}

PERIGEE_API int32_t perigee_exec_await(perigee_loop *loop, double id, double ticket) {
  process *p = find(loop, id);
  if (!p) return -1;
  p->ticket = ticket;
  return p->ended;
}

PERIGEE_API int32_t perigee_exec_stop(perigee_loop *loop, double id, int32_t signal) {
  process *p = find(loop, id);
  if (!p || p->reaped) return -1;
  p->stopped = 1;
  return kill(-p->pid, signal) ? -1 : 0;
}

PERIGEE_API int32_t perigee_exec_result_of(perigee_loop *loop, double id,
                                           perigee_exec_result *result) {
  const process *p = find(loop, id);
  if (!p || !p->ended) return -1;
  int known = !p->reap_failed;
  *result = (perigee_exec_result){
    .out = p->out.bytes,
    .err = p->err.bytes,
    .out_bytes = p->out.length,
    .err_bytes = p->err.length,
    .status = known && WIFEXITED(p->status) ? WEXITSTATUS(p->status) : -1,
    .signal = known && WIFSIGNALED(p->status) ? WTERMSIG(p->status) : 0,
    .overflow = p->out.overflow || p->err.overflow,
  };
  return 0;
}

PERIGEE_API void perigee_exec_free(perigee_loop *loop, double id) {
  process *p = find(loop, id);
  if (!p) return;
  p->ticket = 0;
  p->forgotten = 1;
  if (p->ended) {
    dispose(p);
    return;
  }
  p->stopped = 1;
  close_outputs(p);
  if (!p->reaped) kill(-p->pid, SIGKILL);
  settle(p);
}

PERIGEE_API uint32_t perigee_exec_running(perigee_loop *loop) {
  const processes *all = processes_of(loop);
  return all ? all->running : 0;
}

/* Waits for a killed process, for half a second at most. */
static void bury(process *p) {
  struct timespec step = {0, FREE_STEP_MS * 1000000L};
  kill(-p->pid, SIGKILL);
  p->stopped = 1;
  for (int i = 0; i < FREE_TRIES; i++) {
    reap(p);
    if (p->reaped) return;
    nanosleep(&step, NULL);
  }
  ev_io_stop(perigee_loop_ev(p->loop), &p->exit);
  close(p->exit.fd);
}

static void on_loop_closed(perigee_loop_guest *guest) {
  processes *all = (processes *)guest;
  for (uint32_t i = 0; i < all->count; i++) {
    process *p = all->slots[i];
    if (!p) continue;
    if (!p->reaped) bury(p);
    ev_timer_stop(perigee_loop_ev(p->loop), &p->drain);
    close_outputs(p);
    dispose(p);
  }
  perigee_loop_remove(guest);
  perigee_dealloc(all->slots);
  perigee_dealloc(all->generations);
  perigee_dealloc(all);
}

static const char *verify(const perigee_loop_guest *guest) {
  const processes *all = (const processes *)guest;
  uint32_t running = 0, pending = 0;
  for (uint32_t i = 0; i < all->count; i++) {
    const process *p = all->slots[i];
    if (!p) continue;
    PERIGEE_VERIFY(p->index == i && p->all == all && p->loop == guest->loop);
    PERIGEE_VERIFY(!p->ended || p->reaped);
    PERIGEE_VERIFY(p->reaped == !ev_is_active(&p->exit));
    PERIGEE_VERIFY(!(p->ended && p->forgotten));
    running += !p->reaped;
    pending += !p->ended;
  }
  PERIGEE_VERIFY(running == all->running);
  PERIGEE_VERIFY(perigee_loop_pending(guest->loop) >= pending);
  return NULL;
}
