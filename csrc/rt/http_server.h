/* SPDX-License-Identifier: MIT
 *
 * http_server.h: HTTP servers on the loop, by libmicrohttpd without threads.
 *
 * An *exchange* is one request and its answer, known by a number. A request is read as a whole,
 * body and all; what breaks the limits or the rules is answered here, and Lua never hears of it.
 * Then the exchange stands in a queue: the ticket of who awaits is fired, and Lua takes what is in
 * the queue. An exchange comes a second time when its client has left before the answer was
 * complete; its number is stale from then on, which makes every call with it a failed look-up.
 *
 * An answer is begun, gets its fields, and is sent. Its body is given at once, or *streamed*: so
 * much is buffered, and who writes more awaits until there is room.
 *
 * When a request is not answered in the turn in which it came, or its stream is empty, the
 * connection is *suspended*: libmicrohttpd does not look at it. We watch each for its client's
 * leaving.
 */
#ifndef PERIGEE_HTTP_SERVER_H
#define PERIGEE_HTTP_SERVER_H

#include "base/base.h"
#include "rt/loop.h"

/* ffi: begin */
typedef struct perigee_http_options {
  const char *host;        /* a numeric address */
  int32_t port;            /* 0: any */
  int32_t connections_max; /* more are not accepted until some are closed */
  double header_bytes_max; /* request line and header fields */
  double body_bytes_max;   /* at most 2^31 - 1 */
  double idle_timeout_s;   /* to read a request; to take in more of an answer. Infinity: none */
} perigee_http_options;

typedef struct perigee_http_field {
  const char *name, *value;
  uint32_t name_bytes, value_bytes;
} perigee_http_field;

/* What is taken from the queue. The texts are borrowed until the next call of any function here, or
 * the next poll of the loop. */
typedef struct perigee_http_request {
  double exchange;
  int32_t is_gone; /* 1: its client has left; nothing below is filled in */
  uint32_t fields_count;
  const perigee_http_field *fields;
  const char *method, *target, *version, *peer; /* "GET", "/path?query", "HTTP/1.1", an address */
  const char *body;                             /* NULL: there is none */
  double body_bytes;
} perigee_http_request;

typedef struct perigee_http_server perigee_http_server;

/* perigee_http_listen: a server, or NULL when memory is out; perigee_http_error: why it does not
 * listen, "" if it does. A server that listens keeps the loop alive. */
perigee_http_server *perigee_http_listen(perigee_loop *loop, const perigee_http_options *options);
const char *perigee_http_error(const perigee_http_server *server);
int32_t perigee_http_port(const perigee_http_server *server);

/* perigee_http_quiesce: no more connections are accepted, idle ones are closed, the others after
 * their answer. perigee_http_free: closes whatever is open. */
void perigee_http_quiesce(perigee_http_server *server);
void perigee_http_free(perigee_http_server *server);

/* perigee_http_await: fires `ticket` when there is something to take, or, of a server that is
 * quiescent, nothing open any more. */
void perigee_http_await(perigee_http_server *server, double ticket);

/* perigee_http_take: 1 and the next one in the queue, or 0: it is empty. */
int32_t perigee_http_take(perigee_http_server *server, perigee_http_request *request);

/* perigee_http_exchanges: how many are open. */
uint32_t perigee_http_exchanges(const perigee_http_server *server);

/* An answer. Each returns 0, or -1: the exchange is over, or was answered; memory is out; the field
 * is none. perigee_http_begin: `status` is of 200 to 599; a `body` of NULL is streamed.
 * perigee_http_send: on its way. */
int32_t perigee_http_begin(perigee_http_server *server, double exchange, int32_t status,
                           const char *body, double body_bytes);
int32_t perigee_http_field_of(perigee_http_server *server, double exchange, const char *name,
                              const char *value);
int32_t perigee_http_send(perigee_http_server *server, double exchange);

/* The stream of one that was sent. perigee_http_write: 1: and there is room for more; 0: it is full
 * now; -1: the exchange is over, or memory is out. perigee_http_room: fires `ticket` when there is
 * room, or the exchange is over. perigee_http_end: it was all; or `is_broken`, so that the
 * connection is closed, for the client to see that something is missing. */
int32_t perigee_http_write(perigee_http_server *server, double exchange, const char *bytes,
                           double count);
void perigee_http_room(perigee_http_server *server, double exchange, double ticket);
void perigee_http_end(perigee_http_server *server, double exchange, int32_t is_broken);

const char *perigee_http_verify(const perigee_http_server *server);
/* ffi: end */

#endif
