/* SPDX-License-Identifier: MIT
 *
 * Slots in one array; free ones in a list through `next`, and so are those that rest, who are held;
 * fired ones in a ring:
 *
 *   slots:  [ generation | fired generation | flags ]  by slot; timers.c knows their deadlines
 *   ring:   . . 7 2 9 . .                              slot numbers, from `head`, `ready` many
 *
 * Invariant: a slot is `queued` iff it is in the ring, once; the ring has a place per slot.
 * A queued slot that is fired again (its holder did not need the first wake-up) keeps its place
 * and tells the newer ticket.
 */
#include "rt/ticket.h"

#include <math.h>

#include "rt/timers.h"

enum {
  CHUNK = PERIGEE_IF_HARD(2, 256),
  FIRST_SLOTS = PERIGEE_IF_HARD(2, 64),
  LAST_GENERATION = 0x7fffffff,
  MOST_RESTING = PERIGEE_IF_HARD(3, 16384)
};

typedef struct slot {
  uint32_t generation; /* 1 .. LAST_GENERATION: of the ticket that is good now */
  uint32_t fired;      /* the generation that was fired last */
  uint32_t next;       /* 1 + the next slot that is free, or rests */
  uint8_t held, rests, queued, unparked;
} slot;

struct perigee_tickets {
  slot *slots;
  uint32_t count, capacity, held, resting;
  uint32_t first_free, first_resting; /* 1 + slot */
  uint32_t *ring;
  uint32_t room; /* of the ring: a power of two, >= count */
  uint32_t head, ready;
  perigee_timers timers;
  perigee_completion chunk[CHUNK];
};

perigee_tickets *perigee_tickets_new(void) {
  perigee_tickets *tickets = perigee_zalloc(sizeof *tickets);
  if (tickets) perigee_timers_init(&tickets->timers);
  return tickets;
}

void perigee_tickets_free(perigee_tickets *tickets) {
  if (!tickets) return;
  perigee_timers_fini(&tickets->timers);
  perigee_dealloc(tickets->slots);
  perigee_dealloc(tickets->ring);
  perigee_dealloc(tickets);
}

PERIGEE_API perigee_tickets *perigee_tickets_closed(void) {
  static _Thread_local perigee_tickets *closed;
  if (!closed) closed = perigee_tickets_new();
  return closed;
}

static double ticket_of(uint32_t index, uint32_t generation) {
  return (double)generation * PERIGEE_TICKET_SLOTS + index;
}

/* The slot of a ticket that is still good, or NULL. Any number at all may come in. */
static slot *find(perigee_tickets *tickets, double ticket) {
  if (!(ticket >= PERIGEE_TICKET_SLOTS && ticket < 0x1p53)) return NULL;
  uint64_t number = (uint64_t)ticket;
  uint32_t index = number % PERIGEE_TICKET_SLOTS;
  if (index >= tickets->count) return NULL;
  slot *found = &tickets->slots[index];
  return found->held && found->generation == number / PERIGEE_TICKET_SLOTS ? found : NULL;
}

static uint32_t index_of(const perigee_tickets *tickets, const slot *s) {
  return (uint32_t)(s - tickets->slots);
}

/* The ring moves to twice the room; what stands in it is laid out from 0. */
static int grow_ring(perigee_tickets *tickets, uint32_t needed) {
  if (needed <= tickets->room) return 0;
  uint32_t room = tickets->room ? tickets->room * 2 : FIRST_SLOTS;
  uint32_t *ring = perigee_alloc(room * sizeof *ring);
  if (!ring) return -1;
  for (uint32_t i = 0; i < tickets->ready; i++) {
    ring[i] = tickets->ring[(tickets->head + i) & (tickets->room - 1)];
  }
  perigee_dealloc(tickets->ring);
  tickets->ring = ring;
  tickets->room = room;
  tickets->head = 0;
  return 0;
}

static int add_slot(perigee_tickets *tickets) {
  uint32_t needed = tickets->count + 1;
  if (needed > PERIGEE_TICKET_SLOTS) return -1;
  if (perigee_grow((void **)&tickets->slots, &tickets->capacity, needed, sizeof(slot))) return -1;
  if (grow_ring(tickets, needed)) return -1;
  if (perigee_timers_reserve(&tickets->timers, needed)) return -1;
  tickets->slots[tickets->count] = (slot){.generation = 1};
  tickets->first_free = ++tickets->count;
  return 0;
}

PERIGEE_API double perigee_tickets_hold(perigee_tickets *tickets) {
  if (!tickets->first_free && add_slot(tickets)) return 0;
  uint32_t index = tickets->first_free - 1;
  slot *s = &tickets->slots[index];
  tickets->first_free = s->next;
  s->next = 0;
  s->held = 1;
  tickets->held++;
  return ticket_of(index, s->generation);
}

static void make_stale(perigee_tickets *tickets, slot *s) {
  s->generation = s->generation == LAST_GENERATION ? 1 : s->generation + 1;
  perigee_timers_stop(&tickets->timers, index_of(tickets, s));
}

PERIGEE_API void perigee_tickets_release(perigee_tickets *tickets, double ticket) {
  if (!(ticket >= PERIGEE_TICKET_SLOTS && ticket < 0x1p53)) return;
  uint32_t index = (uint64_t)ticket % PERIGEE_TICKET_SLOTS;
  if (index >= tickets->count) return;
  slot *s = &tickets->slots[index];
  if (!s->held || s->rests) return;
  make_stale(tickets, s);
  s->held = 0;
  s->next = tickets->first_free;
  tickets->first_free = index + 1;
  tickets->held--;
}

PERIGEE_API int32_t perigee_tickets_rest(perigee_tickets *tickets, int32_t index) {
  if (index < 0 || (uint32_t)index >= tickets->count) return 0;
  if (tickets->resting >= MOST_RESTING) return 0;
  slot *s = &tickets->slots[index];
  if (!s->held || s->rests) return 0;
  s->rests = 1;
  s->next = tickets->first_resting;
  tickets->first_resting = (uint32_t)index + 1;
  tickets->resting++;
  return 1;
}

PERIGEE_API int32_t perigee_tickets_rouse(perigee_tickets *tickets) {
  if (!tickets->first_resting) return -1;
  uint32_t index = tickets->first_resting - 1;
  slot *s = &tickets->slots[index];
  tickets->first_resting = s->next;
  s->next = 0;
  s->rests = 0;
  tickets->resting--;
  return (int32_t)index;
}

PERIGEE_API void perigee_tickets_renew(perigee_tickets *tickets, double ticket) {
  slot *s = find(tickets, ticket);
  if (s) make_stale(tickets, s);
}

static void fire(perigee_tickets *tickets, slot *s, int unparked) {
  s->fired = s->generation;
  s->unparked = (uint8_t)unparked;
  make_stale(tickets, s);
  if (s->queued) return;
  s->queued = 1;
  tickets->ring[(tickets->head + tickets->ready++) & (tickets->room - 1)] = index_of(tickets, s);
}

PERIGEE_API int32_t perigee_tickets_unpark(perigee_tickets *tickets, double ticket) {
  slot *s = find(tickets, ticket);
  if (!s) return -1;
  fire(tickets, s, 1);
  return (int32_t)index_of(tickets, s);
}

PERIGEE_API void perigee_tickets_deadline(perigee_tickets *tickets, double ticket, double at) {
  slot *s = find(tickets, ticket);
  if (s) perigee_timers_start(&tickets->timers, index_of(tickets, s), at);
}

PERIGEE_API double perigee_tickets_next(const perigee_tickets *tickets) {
  return perigee_timers_next(&tickets->timers);
}

PERIGEE_API uint32_t perigee_tickets_expire(perigee_tickets *tickets, double now) {
  int64_t owner;
  while ((owner = perigee_timers_pop(&tickets->timers, now)) >= 0) {
    fire(tickets, &tickets->slots[owner], 0);
  }
  return tickets->ready;
}

PERIGEE_API uint32_t perigee_tickets_ready(const perigee_tickets *tickets) {
  return tickets->ready;
}

PERIGEE_API uint32_t perigee_tickets_pull(perigee_tickets *tickets, uint32_t limit) {
  uint32_t n = 0;
  while (n < limit && n < CHUNK && tickets->ready > 0) {
    uint32_t index = tickets->ring[tickets->head];
    slot *s = &tickets->slots[index];
    tickets->head = (tickets->head + 1) & (tickets->room - 1);
    tickets->ready--;
    s->queued = 0;
    tickets->chunk[n++] =
      (perigee_completion){ticket_of(index, s->fired), (int32_t)index, s->unparked};
  }
  return n;
}

PERIGEE_API const perigee_completion *perigee_tickets_chunk(const perigee_tickets *tickets) {
  return tickets->chunk;
}

PERIGEE_API uint32_t perigee_tickets_held(const perigee_tickets *tickets) {
  return tickets->held;
}

static const char *verify_slots(const perigee_tickets *tickets) {
  uint32_t held = 0, queued = 0, free = 0, resting = 0;
  for (uint32_t i = 0; i < tickets->count; i++) {
    const slot *s = &tickets->slots[i];
    held += s->held;
    queued += s->queued;
    PERIGEE_VERIFY(s->generation >= 1 && s->generation <= LAST_GENERATION);
    PERIGEE_VERIFY(s->held || tickets->timers.position[i] == 0);
    PERIGEE_VERIFY(!s->queued || s->fired != 0);
  }
  for (uint32_t i = tickets->first_free; i != 0; i = tickets->slots[i - 1].next) {
    PERIGEE_VERIFY(!tickets->slots[i - 1].held);
    PERIGEE_VERIFY(++free <= tickets->count);
  }
  for (uint32_t i = tickets->first_resting; i != 0; i = tickets->slots[i - 1].next) {
    PERIGEE_VERIFY(tickets->slots[i - 1].held && tickets->slots[i - 1].rests);
    PERIGEE_VERIFY(++resting <= tickets->resting);
  }
  PERIGEE_VERIFY(resting == tickets->resting && resting <= MOST_RESTING);
  PERIGEE_VERIFY(held == tickets->held);
  PERIGEE_VERIFY(held + free == tickets->count);
  PERIGEE_VERIFY(queued == tickets->ready);
  return NULL;
}

PERIGEE_API const char *perigee_tickets_verify(const perigee_tickets *tickets) {
  const char *broken = perigee_timers_verify(&tickets->timers);
  if (!broken) broken = verify_slots(tickets);
  if (broken) return broken;
  PERIGEE_VERIFY(tickets->room >= tickets->count);
  for (uint32_t i = 0; i < tickets->ready; i++) {
    uint32_t index = tickets->ring[(tickets->head + i) & (tickets->room - 1)];
    PERIGEE_VERIFY(index < tickets->count && tickets->slots[index].queued);
  }
  return NULL;
}
