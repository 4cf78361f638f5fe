/* SPDX-License-Identifier: MIT
 *
 * http_state.h: what is inside a server (http_server.h). Private to its files:
 *
 *   http_server.c    the daemon, the loop, connections and their deadlines
 *   http_reading.c   requests as they come in
 *   http_rules.c     what is no request
 *   http_chunks.c    bodies in chunks that would keep the daemon busy for nothing
 *   http_exchange.c  exchanges: numbers, the queue, suspending
 *   http_leaving.c   clients that leave
 *   http_answer.c    answers and streams
 */
#ifndef PERIGEE_HTTP_STATE_H
#define PERIGEE_HTTP_STATE_H

#include <ev.h>
#include <microhttpd.h>
#include <netinet/in.h>

#include "rt/http_server.h"

typedef struct perigee_http_exchange perigee_http_exchange;

/* A client's connection. Those that wait for a request, or read one, are in a list, the oldest
 * first: their deadlines come in that order. */
typedef struct perigee_http_connection {
  struct perigee_http_connection *older, *newer;
  struct perigee_http_connection *next_left, **left_link; /* NULL: its client has not left */
  perigee_http_exchange *exchange;
  double since_s;
  int fd;
  int is_reading; /* in the list */
  char peer[INET6_ADDRSTRLEN];
} perigee_http_connection;

typedef enum {
  PERIGEE_HTTP_READING,
  PERIGEE_HTTP_WAITING, /* for its answer */
  PERIGEE_HTTP_ANSWERED,
} perigee_http_stage;

struct perigee_http_exchange {
  perigee_http_server *server;
  struct MHD_Connection *of; /* NULL: libmicrohttpd has done with it */
  perigee_http_connection *connection;
  double number;
  perigee_http_stage stage;
  const char *method, *version; /* cut out of the bytes that came, in the daemon's memory, */
  const char *line_target;      /* and `target` there, which the daemon decodes in its place */

  uint8_t is_begun;     /* its fields have been looked at */
  uint8_t is_chunked;   /* and say that its body comes in chunks */
  uint8_t is_suspended; /* libmicrohttpd does not look at it */
  uint8_t is_queued;
  uint8_t is_taken; /* Lua knows it */
  uint8_t is_gone;  /* its client has left */
  int refusal;      /* the status with which it is answered when it has been read; 0: none */

  char *body;
  uint32_t body_bytes, body_capacity;
  double bytes_read;
  double bytes_seen;    /* in chunks: http_chunks.c */
  uint64_t seen_in_run; /* number of the daemon's run */

  struct MHD_Response *answer;
  int status;
  uint8_t is_streamed, has_ended, is_broken;
  char *stream; /* those before `stream_at` have left */
  uint32_t stream_at, stream_bytes, stream_capacity;
  double room; /* the ticket of who waits for it */

  perigee_http_exchange *next_queued;
  char target[];
};

typedef struct perigee_http_slot {
  perigee_http_exchange *exchange; /* NULL: free */
  uint32_t generation, next_free;  /* 1 + the next free slot */
} perigee_http_slot;

struct perigee_http_server {
  perigee_loop_guest guest; /* first: the loop hands this address back */
  struct MHD_Daemon *daemon;
  ev_io readable; /* the daemon's epoll */
  ev_io leaving;  /* our epoll: of clients that leave */
  ev_timer due;
  int listening; /* descriptor, or -1 */
  int watching;  /* descriptor of our epoll */
  int port;
  int is_dirty;  /* the daemon has something to do */
  uint64_t runs; /* of the daemon */
  double looked_s;
  int is_quiescent, is_expecting;
  double header_bytes_max, body_bytes_max, idle_timeout_s;

  perigee_http_connection *oldest, *newest, *left;
  perigee_http_slot *slots;
  uint32_t slots_count, slots_capacity, first_free; /* 1 + slot */
  uint32_t open;                                    /* exchanges that the daemon knows */
  perigee_http_exchange *first_queued, *last_queued;
  perigee_http_field *fields; /* of who was taken last */
  uint32_t fields_capacity;
  double awaiting;
  char error[200];
};

/* http_server.c */
void perigee_http_fire(perigee_http_server *server, double *ticket);
void perigee_http_rest(perigee_http_server *server, perigee_http_connection *connection);
void perigee_http_leave_rest(perigee_http_server *server, perigee_http_connection *connection);

/* Closes a connection that reads a request, so that nothing of an answer has been sent. Before that
 * it sends a status and nothing else; not if that is 0. */
void perigee_http_hang_up(perigee_http_server *server, perigee_http_connection *connection,
                          int status);

/* http_leaving.c */
int perigee_http_watch(perigee_http_server *server, perigee_http_connection *connection); /* -1 */
void perigee_http_unwatch(perigee_http_server *server, perigee_http_connection *connection);
void perigee_http_hear_leaving(perigee_http_server *server);
void perigee_http_part_with_left(perigee_http_server *server);

/* http_rules.c */

/* What the fields of a request say. */
typedef struct perigee_http_framing {
  uint32_t hosts, lengths, encodings, bad, expects;
  double length;   /* of the body */
  const char *end; /* of the value that was looked at last */
} perigee_http_framing;

/* The status of what is wrong with a request's line or fields, or 0. */
int perigee_http_judge(perigee_http_exchange *x, perigee_http_framing *found);

/* http_chunks.c */
void perigee_http_chunks_seen(perigee_http_exchange *x); /* bytes of the body were handed over */
void perigee_http_drop_endless_chunks(perigee_http_server *server);

/* http_reading.c: libmicrohttpd's callbacks. */
void *perigee_http_on_line(void *server, const char *target, struct MHD_Connection *of);
enum MHD_Result perigee_http_on_request(void *server, struct MHD_Connection *of, const char *path,
                                        const char *method, const char *version, const char *bytes,
                                        size_t *count, void **exchange);
void perigee_http_on_completed(void *server, struct MHD_Connection *of, void **exchange,
                               enum MHD_RequestTerminationCode why);

/* http_exchange.c */
perigee_http_exchange *perigee_http_exchange_new(perigee_http_server *server, const char *target);
perigee_http_exchange *perigee_http_find(const perigee_http_server *server, double number);
void perigee_http_queue(perigee_http_exchange *x);
void perigee_http_release(perigee_http_exchange *x); /* the daemon has done with it */
void perigee_http_gone(perigee_http_exchange *x);
void perigee_http_suspend(perigee_http_exchange *x);
void perigee_http_resume(perigee_http_exchange *x);
void perigee_http_exchanges_fini(perigee_http_server *server);
const char *perigee_http_exchanges_verify(const perigee_http_server *server);

/* http_answer.c */
enum MHD_Result perigee_http_queue_answer(perigee_http_exchange *x);

#endif
