/* SPDX-License-Identifier: MIT
 *
 *   stream   left ......... stream_at ......... stream_bytes ......... capacity
 *            sent           to be sent          free
 *
 * The daemon takes from the stream when the socket can be written to; when there is nothing to take
 * the connection is suspended until something is written. What is to be sent moves to the front
 * when more than half has left.
 */
#include <string.h>

#include "rt/http_state.h"

enum {
  STREAM_FULL = PERIGEE_IF_HARD(64, 64 * 1024),
  STREAM_MAX = 1 << 30,
  BLOCK = 16 * 1024,
};

static uint32_t waiting(const perigee_http_exchange *x) {
  return x->stream_bytes - x->stream_at;
}

static void give(perigee_http_exchange *x, char *bytes, size_t count) {
  memcpy(bytes, x->stream + x->stream_at, count);
  x->stream_at += (uint32_t)count;
  if (x->stream_at == x->stream_bytes) x->stream_at = x->stream_bytes = 0;
  if (waiting(x) <= STREAM_FULL / 2) perigee_http_fire(x->server, &x->room);
}

static ssize_t on_read(void *exchange, uint64_t at, char *bytes, size_t count) {
  perigee_http_exchange *x = exchange;
  (void)at;
  if (x->is_gone) return MHD_CONTENT_READER_END_WITH_ERROR;
  if (waiting(x)) {
    if (count > waiting(x)) count = waiting(x);
    give(x, bytes, count);
    return (ssize_t)count;
  }
  if (x->is_broken) return MHD_CONTENT_READER_END_WITH_ERROR;
  if (x->has_ended) return MHD_CONTENT_READER_END_OF_STREAM;
  perigee_http_suspend(x);
  return 0;
}

/* Answering. */

PERIGEE_API int32_t perigee_http_begin(perigee_http_server *server, double exchange, int32_t status,
                                       const char *body, double body_bytes) {
  perigee_http_exchange *x = perigee_http_find(server, exchange);
  if (!x || x->stage != PERIGEE_HTTP_WAITING) return -1;
  if (x->answer) MHD_destroy_response(x->answer); /* it was begun, and not sent */
  x->is_streamed = body == NULL;
  x->status = status;
  x->answer = body ? MHD_create_response_from_buffer((size_t)body_bytes, (void *)(uintptr_t)body,
                                                     MHD_RESPMEM_MUST_COPY)
                   : MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, on_read, x, NULL);
  if (!x->answer) return -1;
  /* libmicrohttpd would end the chunks that HEAD never gets: there are none in HTTP/1.0. */
  if (x->is_streamed && strcmp(x->method, MHD_HTTP_METHOD_HEAD) == 0)
    MHD_set_response_options(x->answer, MHD_RF_HTTP_VERSION_1_0_RESPONSE, MHD_RO_END);
  return 0;
}

PERIGEE_API int32_t perigee_http_field_of(perigee_http_server *server, double exchange,
                                          const char *name, const char *value) {
  perigee_http_exchange *x = perigee_http_find(server, exchange);
  if (!x || !x->answer || x->stage != PERIGEE_HTTP_WAITING) return -1;
  return MHD_add_response_header(x->answer, name, value) == MHD_YES ? 0 : -1;
}

PERIGEE_API int32_t perigee_http_send(perigee_http_server *server, double exchange) {
  perigee_http_exchange *x = perigee_http_find(server, exchange);
  if (!x || !x->answer || x->stage != PERIGEE_HTTP_WAITING) return -1;
  if (server->is_quiescent) MHD_add_response_header(x->answer, "Connection", "close");
  x->stage = PERIGEE_HTTP_ANSWERED;
  perigee_dealloc(x->body);
  x->body = NULL;
  perigee_http_resume(x);
  return 0;
}

enum MHD_Result perigee_http_queue_answer(perigee_http_exchange *x) {
  if (!x->answer) return MHD_YES; /* it has been queued */
  enum MHD_Result result = MHD_queue_response(x->of, (unsigned)x->status, x->answer);
  MHD_destroy_response(x->answer);
  x->answer = NULL;
  return result;
}

/* Streams. */

static perigee_http_exchange *stream_of(const perigee_http_server *server, double exchange) {
  perigee_http_exchange *x = perigee_http_find(server, exchange);
  int is_one = x && x->stage == PERIGEE_HTTP_ANSWERED && x->is_streamed && !x->has_ended;
  return is_one ? x : NULL;
}

PERIGEE_API int32_t perigee_http_write(perigee_http_server *server, double exchange,
                                       const char *bytes, double count) {
  perigee_http_exchange *x = stream_of(server, exchange);
  if (!x || waiting(x) + count > STREAM_MAX) return -1;
  if (x->stream_at > x->stream_bytes / 2) {
    memmove(x->stream, x->stream + x->stream_at, waiting(x));
    x->stream_bytes = waiting(x);
    x->stream_at = 0;
  }
  uint32_t needed = x->stream_bytes + (uint32_t)count;
  if (perigee_grow((void **)&x->stream, &x->stream_capacity, needed, 1)) return -1;
  if (count > 0) {
    memcpy(x->stream + x->stream_bytes, bytes, (size_t)count);
    x->stream_bytes = needed;
    perigee_http_resume(x);
  }
  return waiting(x) < STREAM_FULL;
}

PERIGEE_API void perigee_http_room(perigee_http_server *server, double exchange, double ticket) {
  perigee_http_exchange *x = stream_of(server, exchange);
  if (x) x->room = ticket;
  if (!x || waiting(x) < STREAM_FULL) perigee_http_fire(server, x ? &x->room : &ticket);
}

PERIGEE_API void perigee_http_end(perigee_http_server *server, double exchange, int32_t is_broken) {
  perigee_http_exchange *x = stream_of(server, exchange);
  if (!x) return;
  x->has_ended = 1;
  x->is_broken = is_broken != 0;
  if (x->is_broken) x->stream_at = x->stream_bytes = 0;
  perigee_http_resume(x);
}
