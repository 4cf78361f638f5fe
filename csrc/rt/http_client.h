/* SPDX-License-Identifier: MIT
 *
 * http_client.h: HTTP requests to other servers, side by side on the loop, by libcurl.
 *
 * Terms. An *order* says what is asked for. It begins a *transfer*, which has *ended* when the
 * whole response is there or it failed. Its *head* is the status line and header lines of the
 * response, as they came. A transfer of a *stream* keeps only a bounded part of the body and then
 * stops reading until that was taken (back pressure); any other collects the body whole.
 *
 * Connections are kept and used again, per loop, at most PERIGEE_HTTP_IDLE_MAX of them while
 * nobody uses them; they are closed with the loop, and so is every transfer. Ids carry a
 * generation; a stale id is a failed look-up. The deadline of a whole transfer is the caller's, who
 * frees it; that of connecting is kept here.
 *
 * Only http and https are spoken, HTTP 1.1, and servers are verified unless the order says
 * otherwise. What curl takes from the environment are proxies; a loopback address needs none.
 */
#ifndef PERIGEE_HTTP_CLIENT_H
#define PERIGEE_HTTP_CLIENT_H

#include "base/base.h"
#include "rt/loop.h"

/* ffi: begin */
enum {
  PERIGEE_HTTP_IDLE_MAX = 32,              /* connections kept */
  PERIGEE_HTTP_HEAD_BYTES_MAX = 262144,    /* of all heads of a transfer, and its trailers */
  PERIGEE_HTTP_BODY_BYTES_MAX = 1073741824 /* of a body that is collected whole */
};

/* how a transfer ended */
enum {
  PERIGEE_HTTP_FINE,
  PERIGEE_HTTP_TIMEOUT,        /* of connecting */
  PERIGEE_HTTP_BODY_TOO_LARGE, /* more than max_body */
  PERIGEE_HTTP_HEAD_TOO_LARGE,
  PERIGEE_HTTP_NO_MEMORY,
  PERIGEE_HTTP_FAILED /* `error` says why */
};

/* Everything is copied. `method` is in capitals. `headers` are lines as curl takes them ("Name:
 * value", "Name;" for an empty value, "Name:" for none of that name), NULL at the end. */
typedef struct perigee_http_client_order {
  const char *url, *method;
  const char *const *headers;
  const char *body;    /* NULL: none */
  const char *ca_file; /* PEM; NULL: the system's */
  double body_bytes;
  double max_body; /* bytes; infinity: any number, of a stream */
  double connect_timeout_s;
  int32_t redirects;  /* so many are followed; 0: none, and it is the response */
  int32_t insecure;   /* 1: whoever answers is believed */
  int32_t compressed; /* 1: asks for a compressed body, which is expanded here */
  int32_t stream;
} perigee_http_client_order;

/* Borrowed until the loop is polled, or the next call about this transfer. */
typedef struct perigee_http_client_view {
  const char *head, *body, *error;
  double head_bytes, body_bytes; /* of the body: what is there and was not taken */
  int32_t status;
  int32_t has_head; /* 1: status and head are there, and final */
  int32_t ended;
  int32_t failure; /* one of the above, once it ended */
} perigee_http_client_view;

/* perigee_http_client_begin: begins a transfer. Its id (> 0), or -EINVAL: the url cannot be read;
 * -ENOMEM. */
double perigee_http_client_begin(perigee_loop *loop, const perigee_http_client_order *order);

/* perigee_http_client_await: `ticket` is fired when the transfer has ended, or is freed; that of a stream
 * also when its head is there, and when there is more of the body. Only the last ticket is
 * remembered, and it is fired once. 0, or -1: stale id. */
int32_t perigee_http_client_await(perigee_loop *loop, double id, double ticket);

/* perigee_http_client_look: what there is. 0, or -1: stale id. */
int32_t perigee_http_client_look(perigee_loop *loop, double id, perigee_http_client_view *view);

/* perigee_http_client_taken: the part of the body that was looked at is not needed any more. */
void perigee_http_client_taken(perigee_loop *loop, double id);

/* perigee_http_client_drop: forgets the transfer; one that has not ended is broken off at once. */
void perigee_http_client_drop(perigee_loop *loop, double id);

/* perigee_http_client_running: how many transfers have not ended. */
uint32_t perigee_http_client_running(perigee_loop *loop);

/* perigee_http_client_resolves_aside: 1 if names are looked up while the loop turns. */
int32_t perigee_http_client_resolves_aside(void);

const char *perigee_http_client_verify(perigee_loop *loop);
/* ffi: end */

#endif
