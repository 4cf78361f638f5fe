/* SPDX-License-Identifier: MIT
 *
 * flight_wait.c: who waits for a load, who is to be woken, and which waits would never end.
 * The representation and its invariants stand in flight_parts.h.
 *
 * Deadlock. The groups are the nodes of a graph; each waiter whose task runs for a group is an
 * edge from that group to the group of the load it waits for.
 *
 *     users[1] --w1--> orders[7] --w2--> users[1]        a batch is one node:
 *     movable 0        movable 0                         any of its keys leads to it
 *
 * A group is *stuck* when no task of it can move and some wait. It goes on as soon as one of
 * the loads it waits for lands, so it is *dead* exactly when every group that can be reached
 * from it, itself included, is stuck (the "or" model of Chandy, Misra and Haas, "Distributed
 * Deadlock Detection", 1983). A group without any task counted is not stuck: nothing is known
 * about it.
 *
 * Invariant: no group is dead. Only a group G that becomes stuck can break it, and every group
 * that dies with it reaches G: so all of them are on cycles through G or lead to one. That
 * makes one search from G enough, and refusing (or waking) one waiter of one such cycle a
 * cure: its group can move again, and all the others reach that group. Landing breaks nothing:
 * whoever waits for the landed load can move from then on.
 *
 * The search is breadth first, its queue runs through the heads themselves: no recursion, no
 * allocation, and it stops at the first group that is not stuck.
 */
#include "core/flight_parts.h"

/* ---- Lists ---- */

static inline void append(perigee_flight *flight, uint32_t *first, uint32_t *last,
                          uint32_t number) {
  waiter *waiter = waiter_at(flight, number);
  waiter->next = PERIGEE_POOL_NONE;
  waiter->prev = *last;
  if (*last == PERIGEE_POOL_NONE) {
    *first = number;
  } else {
    waiter_at(flight, *last)->next = number;
  }
  *last = number;
}

static inline void detach(perigee_flight *flight, uint32_t *first, uint32_t *last,
                          const waiter *waiter) {
  if (waiter->prev == PERIGEE_POOL_NONE) {
    *first = waiter->next;
  } else {
    waiter_at(flight, waiter->prev)->next = waiter->next;
  }
  if (waiter->next == PERIGEE_POOL_NONE) {
    *last = waiter->prev;
  } else {
    waiter_at(flight, waiter->next)->prev = waiter->prev;
  }
}

/* The waiter's task waits: it is an edge from `group`, and cannot move. */
static void push_out(perigee_flight *flight, uint32_t number, uint32_t group) {
  waiter *waiter = waiter_at(flight, number);
  load *head = load_at(flight, group);
  waiter->group = group;
  waiter->prev_out = PERIGEE_POOL_NONE;
  waiter->next_out = head->outs;
  if (head->outs != PERIGEE_POOL_NONE) waiter_at(flight, head->outs)->prev_out = number;
  head->outs = number;
}

/* The waiter's task waits no longer: its group can move. */
static void remove_out(perigee_flight *flight, waiter *waiter) {
  load *head = load_at(flight, waiter->group);
  if (waiter->prev_out == PERIGEE_POOL_NONE) {
    head->outs = waiter->next_out;
  } else {
    waiter_at(flight, waiter->prev_out)->next_out = waiter->next_out;
  }
  if (waiter->next_out != PERIGEE_POOL_NONE) {
    waiter_at(flight, waiter->next_out)->prev_out = waiter->prev_out;
  }
  waiter->group = PERIGEE_POOL_NONE;
  if (head->movable < INT32_MAX) head->movable++;
}

/* Takes a waiter that waits off its load and its group. */
static void stop_waiting(perigee_flight *flight, waiter *waiter) {
  load *load = load_at(flight, waiter->load);
  detach(flight, &load->first_waiter, &load->last_waiter, waiter);
  if (waiter->group != PERIGEE_POOL_NONE) remove_out(flight, waiter);
}

static void wake(perigee_flight *flight, uint32_t number) {
  waiter_at(flight, number)->state = WAITER_WAKES;
  append(flight, &flight->first_waking, &flight->last_waking, number);
}

void perigee_flight_wake_all(perigee_flight *flight, uint32_t number) {
  load *load = load_at(flight, number);
  for (uint32_t i = load->first_waiter, next; i != PERIGEE_POOL_NONE; i = next) {
    waiter *waiter = waiter_at(flight, i);
    next = waiter->next;
    if (waiter->group != PERIGEE_POOL_NONE) remove_out(flight, waiter);
    wake(flight, i);
  }
  load->first_waiter = load->last_waiter = PERIGEE_POOL_NONE;
}

void perigee_flight_end_group(perigee_flight *flight, uint32_t head) {
  uint32_t i = load_at(flight, head)->outs;
  for (; i != PERIGEE_POOL_NONE; i = waiter_at(flight, i)->next_out) {
    waiter_at(flight, i)->group = PERIGEE_POOL_NONE;
  }
}

/* ---- The search for dead groups ---- */

typedef struct queue {
  uint32_t first, last;
} queue;

static int is_stuck(const load *head) {
  return head->movable == 0 && head->outs != PERIGEE_POOL_NONE;
}

static void begin_search(perigee_flight *flight) {
  if (++flight->search != 0) return;
  for (uint32_t i = 0; i < flight->loads.used; i++) load_at(flight, i)->mark = 0;
  flight->search = 1;
}

/* Follows one waiter to the group it waits for. Returns 1 if that group may move yet. */
static int follow(perigee_flight *flight, queue *queue, uint32_t number) {
  uint32_t group = load_at(flight, waiter_at(flight, number)->load)->group;
  load *head = load_at(flight, group);
  if (head->mark == flight->search) return 0;
  if (!is_stuck(head)) return 1;
  head->mark = flight->search;
  head->via = number;
  head->queued = PERIGEE_POOL_NONE;
  if (queue->first == PERIGEE_POOL_NONE) {
    queue->first = group;
  } else {
    load_at(flight, queue->last)->queued = group;
  }
  queue->last = group;
  return 0;
}

static int follow_all(perigee_flight *flight, queue *queue, uint32_t group) {
  uint32_t i = load_at(flight, group)->outs;
  for (; i != PERIGEE_POOL_NONE; i = waiter_at(flight, i)->next_out) {
    if (follow(flight, queue, i)) return 1;
  }
  return 0;
}

/* Says whether `goal` is dead, looking along its waiter `first` (or along all its waiters, if
 * that is PERIGEE_POOL_NONE). If so, the `via`s from the goal back to it are a cycle. */
static int is_dead(perigee_flight *flight, uint32_t goal, uint32_t first) {
  queue queue = {PERIGEE_POOL_NONE, PERIGEE_POOL_NONE};
  if (!is_stuck(load_at(flight, goal))) return 0;
  begin_search(flight);
  int moves =
    first != PERIGEE_POOL_NONE ? follow(flight, &queue, first) : follow_all(flight, &queue, goal);
  for (uint32_t i = queue.first; !moves && i != PERIGEE_POOL_NONE; i = load_at(flight, i)->queued) {
    moves = follow_all(flight, &queue, i);
  }
  return !moves && load_at(flight, goal)->mark == flight->search;
}

/* ---- Cycles, as they are told ---- */

/* The waiter before the one over which the cycle comes to `group`. */
static uint32_t step_back(const perigee_flight *flight, uint32_t group) {
  return waiter_at(flight, load_at(flight, group)->via)->group;
}

static uint32_t youngest_of_cycle(const perigee_flight *flight, uint32_t goal, uint32_t *length) {
  uint32_t youngest = load_at(flight, goal)->via, group = goal;
  *length = 0;
  do {
    uint32_t via = load_at(flight, group)->via;
    if (waiter_at(flight, via)->sequence > waiter_at(flight, youngest)->sequence) youngest = via;
    ++*length;
    group = step_back(flight, group);
  } while (group != goal);
  return youngest;
}

/* The loads of the cycle through `goal`, beginning with the load that `teller` runs for and
 * then the one it waits for. NULL when memory is out. */
static cycle *record_cycle(const perigee_flight *flight, uint32_t teller, uint32_t length) {
  cycle *cycle = perigee_alloc(sizeof *cycle + length * sizeof cycle->loads[0]);
  if (!cycle) return NULL;
  cycle->next = NULL;
  cycle->waiter = teller;
  cycle->count = length;
  /* Backwards from the group the teller waits for: that is place 1, its own load place 0. */
  uint32_t group = load_at(flight, waiter_at(flight, teller)->load)->group;
  for (uint32_t place = length + 1; place > 1; place--) {
    uint32_t waited_for = waiter_at(flight, load_at(flight, group)->via)->load;
    cycle->loads[place % length] = perigee_pool_id(&flight->loads, waited_for);
    group = step_back(flight, group);
  }
  return cycle;
}

static void tell(perigee_flight *flight, cycle *cycle) {
  perigee_dealloc(flight->found);
  flight->found = cycle;
}

/* Takes the cycle that was recorded for a victim; NULL if memory was out. */
static cycle *take_untold(perigee_flight *flight, uint32_t victim) {
  for (cycle **at = &flight->untold; *at; at = &(*at)->next) {
    cycle *cycle = *at;
    if (cycle->waiter != victim) continue;
    *at = cycle->next;
    return cycle;
  }
  return NULL;
}

void perigee_flight_drop_cycles(perigee_flight *flight) {
  tell(flight, NULL);
  while (flight->untold) {
    cycle *next = flight->untold->next;
    perigee_dealloc(flight->untold);
    flight->untold = next;
  }
}

/* Wakes the youngest waiter of the dead cycle through `goal`. */
static void break_cycle(perigee_flight *flight, uint32_t goal) {
  uint32_t length, victim = youngest_of_cycle(flight, goal, &length);
  cycle *cycle = record_cycle(flight, victim, length);
  if (cycle) {
    cycle->next = flight->untold;
    flight->untold = cycle;
  }
  waiter_at(flight, victim)->is_victim = 1;
  stop_waiting(flight, waiter_at(flight, victim));
  wake(flight, victim);
}

/* ---- Waiting ---- */

static void free_waiter(perigee_flight *flight, uint32_t number) {
  perigee_pool_release(&flight->waiters, number);
  flight->waiting--;
}

/* Makes `number` an edge from `group`. Returns -1, and undoes it, if that kills the group. */
static int run_for(perigee_flight *flight, uint32_t number, uint32_t group) {
  load *head = load_at(flight, group);
  int counted = head->movable > 0;
  head->movable -= counted;
  push_out(flight, number, group);
  if (head->movable > 0 || !is_dead(flight, group, number)) return 0;
  uint32_t length;
  youngest_of_cycle(flight, group, &length);
  tell(flight, record_cycle(flight, number, length));
  stop_waiting(flight, waiter_at(flight, number));
  head->movable = counted;
  return -1;
}

PERIGEE_API double perigee_flight_wait(perigee_flight *flight, double id, double ticket,
                                       double runs_for) {
  uint32_t target = running_load(flight, id);
  if (target == PERIGEE_POOL_NONE) return 0;
  uint32_t number = perigee_pool_take(&flight->waiters);
  if (number == PERIGEE_POOL_NONE) return 0;
  waiter *waiter = waiter_at(flight, number);
  waiter->ticket = ticket;
  waiter->sequence = ++flight->sequence;
  waiter->load = target;
  waiter->group = PERIGEE_POOL_NONE;
  waiter->state = WAITER_WAITS;
  waiter->is_victim = 0;
  load *load = load_at(flight, target);
  append(flight, &load->first_waiter, &load->last_waiter, number);
  flight->waiting++;
  uint32_t group = group_of(flight, runs_for);
  if (group != PERIGEE_POOL_NONE && run_for(flight, number, group)) {
    free_waiter(flight, number);
    return -1;
  }
  return perigee_pool_id(&flight->waiters, number);
}

PERIGEE_API int32_t perigee_flight_leave(perigee_flight *flight, double id) {
  uint32_t number = perigee_pool_find(&flight->waiters, id);
  if (number == PERIGEE_POOL_NONE) return 0;
  waiter *waiter = waiter_at(flight, number);
  if (waiter->state == WAITER_WAITS) {
    stop_waiting(flight, waiter);
  } else if (waiter->state == WAITER_WAKES) {
    detach(flight, &flight->first_waking, &flight->last_waking, waiter);
  }
  int32_t is_victim = waiter->is_victim;
  if (is_victim) tell(flight, take_untold(flight, number));
  free_waiter(flight, number);
  return is_victim;
}

static waiter *next_waking(perigee_flight *flight) {
  uint32_t number = flight->first_waking;
  if (number == PERIGEE_POOL_NONE) return NULL;
  waiter *waiter = waiter_at(flight, number);
  detach(flight, &flight->first_waking, &flight->last_waking, waiter);
  waiter->state = WAITER_PULLED;
  return waiter;
}

PERIGEE_API double perigee_flight_pull(perigee_flight *flight) {
  const waiter *waiter = next_waking(flight);
  return waiter ? waiter->ticket : 0;
}

PERIGEE_API double perigee_flight_dismiss(perigee_flight *flight) {
  uint32_t number = flight->first_waking;
  const waiter *waiter = next_waking(flight);
  if (!waiter) return 0;
  if (waiter->is_victim) return -waiter->ticket;
  double ticket = waiter->ticket;
  free_waiter(flight, number);
  return ticket;
}

PERIGEE_API double perigee_flight_chain(perigee_flight *flight, int32_t i) {
  const cycle *found = flight->found;
  return found && i >= 0 && (uint32_t)i < found->count ? found->loads[i] : 0;
}

PERIGEE_API void perigee_flight_tasks(perigee_flight *flight, double id, int32_t delta) {
  uint32_t group = group_of(flight, id);
  if (group == PERIGEE_POOL_NONE) return;
  load *head = load_at(flight, group);
  int64_t movable = (int64_t)head->movable + delta;
  head->movable = movable < 0 ? 0 : movable > INT32_MAX ? INT32_MAX : (int32_t)movable;
  if (delta < 0 && is_dead(flight, group, PERIGEE_POOL_NONE)) break_cycle(flight, group);
}

PERIGEE_API uint32_t perigee_flight_waiting(const perigee_flight *flight) {
  return flight->waiting;
}

/* ---- Checks ---- */

static const char *verify_list(const perigee_flight *flight, uint32_t first, uint32_t last,
                               waiter_state state, uint32_t *count) {
  uint32_t prev = PERIGEE_POOL_NONE;
  for (uint32_t i = first; i != PERIGEE_POOL_NONE; i = waiter_at(flight, i)->next) {
    const waiter *waiter = waiter_at(flight, i);
    PERIGEE_VERIFY(perigee_pool_in_use(&flight->waiters, i) && waiter->state == state);
    PERIGEE_VERIFY(waiter->prev == prev);
    PERIGEE_VERIFY(state == WAITER_WAITS || waiter->group == PERIGEE_POOL_NONE);
    PERIGEE_VERIFY(++*count <= flight->waiting);
    prev = i;
  }
  PERIGEE_VERIFY(last == prev);
  return NULL;
}

static const char *verify_waiters_of(const perigee_flight *flight, uint32_t number,
                                     uint32_t *count) {
  const load *load = load_at(flight, number);
  uint64_t sequence = 0;
  const char *broken =
    verify_list(flight, load->first_waiter, load->last_waiter, WAITER_WAITS, count);
  if (broken) return broken;
  PERIGEE_VERIFY(load->runs || load->first_waiter == PERIGEE_POOL_NONE);
  for (uint32_t i = load->first_waiter; i != PERIGEE_POOL_NONE; i = waiter_at(flight, i)->next) {
    const waiter *waiter = waiter_at(flight, i);
    PERIGEE_VERIFY(waiter->load == number && !waiter->is_victim);
    PERIGEE_VERIFY(waiter->sequence > sequence && waiter->sequence <= flight->sequence);
    sequence = waiter->sequence;
  }
  return NULL;
}

static const char *verify_outs(const perigee_flight *flight, uint32_t head, uint32_t *count) {
  uint32_t prev = PERIGEE_POOL_NONE;
  for (uint32_t i = load_at(flight, head)->outs; i != PERIGEE_POOL_NONE;) {
    const waiter *waiter = waiter_at(flight, i);
    PERIGEE_VERIFY(perigee_pool_in_use(&flight->waiters, i) && waiter->state == WAITER_WAITS);
    PERIGEE_VERIFY(waiter->group == head && waiter->prev_out == prev);
    PERIGEE_VERIFY(++*count <= flight->waiting);
    prev = i;
    i = waiter->next_out;
  }
  return NULL;
}

static const char *verify_states(const perigee_flight *flight, uint32_t listed, uint32_t outs) {
  uint32_t in_lists = 0, in_outs = 0, victims = 0, untold = 0;
  for (uint32_t i = 0; i < flight->waiters.used; i++) {
    if (!perigee_pool_in_use(&flight->waiters, i)) continue;
    const waiter *waiter = waiter_at(flight, i);
    in_lists += waiter->state != WAITER_PULLED;
    in_outs += waiter->group != PERIGEE_POOL_NONE;
    victims += waiter->is_victim;
  }
  for (const cycle *cycle = flight->untold; cycle; cycle = cycle->next, untold++) {
    PERIGEE_VERIFY(perigee_pool_in_use(&flight->waiters, cycle->waiter));
    PERIGEE_VERIFY(waiter_at(flight, cycle->waiter)->is_victim && untold < victims);
  }
  PERIGEE_VERIFY(in_lists == listed && in_outs == outs);
  return NULL;
}

const char *perigee_flight_verify_waiters(const perigee_flight *flight) {
  const char *broken = perigee_pool_verify(&flight->waiters);
  uint32_t listed = 0, outs = 0, in_use = 0;
  for (uint32_t i = 0; !broken && i < flight->loads.used; i++) {
    if (!perigee_pool_in_use(&flight->loads, i)) continue;
    broken = verify_waiters_of(flight, i, &listed);
    if (!broken && load_at(flight, i)->group == i) broken = verify_outs(flight, i, &outs);
  }
  if (broken) return broken;
  broken = verify_list(flight, flight->first_waking, flight->last_waking, WAITER_WAKES, &listed);
  if (broken) return broken;
  for (uint32_t i = 0; i < flight->waiters.used; i++) {
    in_use += (uint32_t)perigee_pool_in_use(&flight->waiters, i);
  }
  PERIGEE_VERIFY(in_use == flight->waiting);
  return verify_states(flight, listed, outs);
}
