/* SPDX-License-Identifier: MIT
 *
 *   reading ──► waiting ──► answered ──► (the daemon has done with it)
 *               queued;     stream: suspended whenever
 *               suspended   there is nothing to send
 *               in the next
 *               run
 *
 * An exchange lives until the daemon has done with it and it is not in the queue. Slots give it a
 * number with a generation, as tickets have.
 *
 * Those that are answered in the turn in which they came are never suspended, which would cost more
 * than all the rest here.
 */
#include <string.h>

#include "rt/http_state.h"

enum { SLOTS_MAX = 1 << 20 };

/* Numbers. */

static int take_slot(perigee_http_server *server, perigee_http_exchange *x) {
  if (!server->first_free) {
    uint32_t needed = server->slots_count + 1;
    if (needed > SLOTS_MAX || perigee_grow((void **)&server->slots, &server->slots_capacity, needed,
                                           sizeof *server->slots)) {
      return -1;
    }
    server->slots[server->slots_count] = (perigee_http_slot){0};
    server->first_free = ++server->slots_count;
  }
  uint32_t index = server->first_free - 1;
  perigee_http_slot *slot = &server->slots[index];
  server->first_free = slot->next_free;
  slot->exchange = x;
  x->number = (double)++slot->generation * SLOTS_MAX + index;
  return 0;
}

static void give_slot(perigee_http_server *server, double number) {
  uint32_t index = (uint64_t)number % SLOTS_MAX;
  server->slots[index].exchange = NULL;
  server->slots[index].next_free = server->first_free;
  server->first_free = index + 1;
}

perigee_http_exchange *perigee_http_find(const perigee_http_server *server, double number) {
  if (!(number >= SLOTS_MAX && number < 0x1p53)) return NULL;
  uint32_t index = (uint64_t)number % SLOTS_MAX;
  if (index >= server->slots_count) return NULL;
  perigee_http_exchange *x = server->slots[index].exchange;
  return x && x->number == number && !x->is_gone ? x : NULL;
}

/* Life. */

perigee_http_exchange *perigee_http_exchange_new(perigee_http_server *server, const char *target) {
  size_t bytes = strlen(target) + 1;
  perigee_http_exchange *x = perigee_zalloc(sizeof *x + bytes);
  if (!x) return NULL;
  if (take_slot(server, x)) {
    perigee_dealloc(x);
    return NULL;
  }
  x->server = server;
  memcpy(x->target, target, bytes);
  server->open++;
  return x;
}

static void dispose(perigee_http_exchange *x) {
  give_slot(x->server, x->number);
  if (x->answer) MHD_destroy_response(x->answer);
  perigee_dealloc(x->body);
  perigee_dealloc(x->stream);
  perigee_dealloc(x);
}

void perigee_http_release(perigee_http_exchange *x) {
  perigee_http_server *server = x->server;
  x->of = NULL;
  x->connection = NULL;
  x->is_suspended = 0;
  server->open--;
  if (!x->is_queued) dispose(x);
  if (server->is_quiescent && server->open == 0) perigee_http_fire(server, &server->awaiting);
}

void perigee_http_exchanges_fini(perigee_http_server *server) {
  for (uint32_t i = 0; i < server->slots_count; i++) {
    if (server->slots[i].exchange) dispose(server->slots[i].exchange);
  }
  perigee_dealloc(server->slots);
  perigee_dealloc(server->fields);
}

/* The queue. */

void perigee_http_queue(perigee_http_exchange *x) {
  perigee_http_server *server = x->server;
  perigee_http_fire(server, &server->awaiting);
  if (x->is_queued) return;
  x->is_queued = 1;
  x->next_queued = NULL;
  if (server->last_queued)
    server->last_queued->next_queued = x;
  else
    server->first_queued = x;
  server->last_queued = x;
}

static perigee_http_exchange *pop(perigee_http_server *server) {
  perigee_http_exchange *x = server->first_queued;
  if (!x) return NULL;
  server->first_queued = x->next_queued;
  if (!server->first_queued) server->last_queued = NULL;
  x->is_queued = 0;
  return x;
}

void perigee_http_gone(perigee_http_exchange *x) {
  if (x->is_gone) return;
  x->is_gone = 1;
  perigee_http_fire(x->server, &x->room);
  if (x->is_taken) perigee_http_queue(x);
}

static enum MHD_Result add_field(void *server_, enum MHD_ValueKind kind, const char *name,
                                 size_t name_bytes, const char *value, size_t value_bytes) {
  perigee_http_server *server = server_;
  (void)kind;
  perigee_http_field *field = server->fields++;
  *field = (perigee_http_field){name, value ? value : "", (uint32_t)name_bytes,
                                value ? (uint32_t)value_bytes : 0};
  return MHD_YES;
}

/* Lends the fields to who takes the request. -1: memory is out. */
static int lend_fields(perigee_http_exchange *x, perigee_http_request *request) {
  perigee_http_server *server = x->server;
  int count = MHD_get_connection_values_n(x->of, MHD_HEADER_KIND, NULL, NULL);
  if (count < 0) count = 0;
  if (perigee_grow((void **)&server->fields, &server->fields_capacity, (uint32_t)count,
                   sizeof *server->fields)) {
    return -1;
  }
  perigee_http_field *first = server->fields;
  MHD_get_connection_values_n(x->of, MHD_HEADER_KIND, add_field, server);
  request->fields_count = (uint32_t)(server->fields - first);
  request->fields = server->fields = first;
  return 0;
}

static int fill_in(perigee_http_exchange *x, perigee_http_request *request) {
  *request = (perigee_http_request){
    .exchange = x->number,
    .method = x->method,
    .target = x->target,
    .version = x->version,
    .peer = x->connection->peer,
    .body = x->body,
    .body_bytes = x->body_bytes,
  };
  return lend_fields(x, request);
}

PERIGEE_API int32_t perigee_http_take(perigee_http_server *server, perigee_http_request *request) {
  for (perigee_http_exchange *x; (x = pop(server));) {
    if (x->is_gone && x->is_taken) {
      *request = (perigee_http_request){.exchange = x->number, .is_gone = 1};
      if (!x->of) dispose(x);
      return 1;
    }
    if (x->is_gone) {
      if (!x->of) dispose(x);
    } else if (fill_in(x, request)) {
      perigee_http_gone(x); /* nobody can answer it */
      perigee_http_resume(x);
    } else {
      x->is_taken = 1;
      return 1;
    }
  }
  return 0;
}

PERIGEE_API uint32_t perigee_http_exchanges(const perigee_http_server *server) {
  return server->open;
}

/* Suspending. */

void perigee_http_suspend(perigee_http_exchange *x) {
  MHD_suspend_connection(x->of);
  x->is_suspended = 1;
}

void perigee_http_resume(perigee_http_exchange *x) {
  if (!x->is_suspended) return;
  x->is_suspended = 0;
  x->server->is_dirty = 1;
  MHD_resume_connection(x->of);
}

const char *perigee_http_exchanges_verify(const perigee_http_server *server) {
  uint32_t open = 0, queued = 0;
  for (uint32_t i = 0; i < server->slots_count; i++) {
    const perigee_http_exchange *x = server->slots[i].exchange;
    if (!x) continue;
    open += x->of != NULL;
    queued += x->is_queued;
    PERIGEE_VERIFY(x->of || x->is_queued);
    PERIGEE_VERIFY(x->of || !x->is_suspended);
    PERIGEE_VERIFY(x->stream_at <= x->stream_bytes && x->stream_bytes <= x->stream_capacity);
    PERIGEE_VERIFY(!x->of || x->connection->exchange == x);
  }
  for (const perigee_http_exchange *x = server->first_queued; x; x = x->next_queued) {
    PERIGEE_VERIFY(x->is_queued && queued-- > 0);
    PERIGEE_VERIFY(x->next_queued || x == server->last_queued);
  }
  PERIGEE_VERIFY(open == server->open && queued == 0);
  return NULL;
}
