/* SPDX-License-Identifier: MIT
 *
 * A request as libmicrohttpd hands it over: its line, then its fields, then its body in pieces,
 * then once more when it is complete, and again in each run until it is suspended or answered. It
 * can be answered at the first of these calls, which is the end of the connection, or when it is
 * complete.
 *
 * A body that is a little too large is read to its end, and then refused: a client that still
 * writes when its connection is closed may never see why.
 */
#include <stdio.h>
#include <string.h>

#include "rt/http_state.h"

enum { BYTES_DRAINED = 1 << 20 }; /* of a body beyond the limit */

void *perigee_http_on_line(void *server, const char *target, struct MHD_Connection *of) {
  perigee_http_connection *connection =
    MHD_get_connection_info(of, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
  perigee_http_exchange *x = connection ? perigee_http_exchange_new(server, target) : NULL;
  if (!x) return NULL;
  x->of = of;
  x->line_target = target;
  x->connection = connection;
  x->connection->exchange = x;
  return x;
}

/* Refusing. */

static enum MHD_Result refuse(perigee_http_exchange *x, int status) {
  char text[64];
  perigee_http_leave_rest(x->server, x->connection);
  const char *reason = MHD_get_reason_phrase_for((unsigned)status);
  int length = snprintf(text, sizeof text, "%s\n", reason ? reason : "refused");
  x->answer = MHD_create_response_from_buffer((size_t)length, text, MHD_RESPMEM_MUST_COPY);
  x->status = status;
  x->stage = PERIGEE_HTTP_ANSWERED;
  if (!x->answer) return MHD_NO;
  MHD_add_response_header(x->answer, "Content-Type", "text/plain; charset=utf-8");
  MHD_add_response_header(x->answer, "Connection", "close");
  return perigee_http_queue_answer(x);
}

static enum MHD_Result begin(perigee_http_exchange *x, const char *method, const char *version) {
  perigee_http_framing found;
  x->is_begun = 1;
  x->method = method;
  x->version = version;
  int wrong = perigee_http_judge(x, &found);
  if (wrong) return refuse(x, wrong);
  x->is_chunked = found.encodings > 0;
  perigee_http_chunks_seen(x);
  double over = found.length - x->server->body_bytes_max;
  if (over > 0) x->refusal = MHD_HTTP_CONTENT_TOO_LARGE;
  if (over > BYTES_DRAINED || (over > 0 && found.expects)) return refuse(x, x->refusal);
  return MHD_YES;
}

/* Reading. */

static enum MHD_Result take_in(perigee_http_exchange *x, const char *bytes, size_t count) {
  x->bytes_read += (double)count;
  perigee_http_chunks_seen(x);
  if (x->bytes_read > x->server->body_bytes_max) x->refusal = MHD_HTTP_CONTENT_TOO_LARGE;
  if (x->refusal)
    return x->bytes_read > x->server->body_bytes_max + BYTES_DRAINED ? MHD_NO : MHD_YES;
  if (perigee_grow((void **)&x->body, &x->body_capacity, x->body_bytes + (uint32_t)count, 1)) {
    x->refusal = MHD_HTTP_SERVICE_UNAVAILABLE;
    return MHD_YES;
  }
  memcpy(x->body + x->body_bytes, bytes, count);
  x->body_bytes += (uint32_t)count;
  return MHD_YES;
}

static enum MHD_Result complete(perigee_http_exchange *x) {
  perigee_http_leave_rest(x->server, x->connection);
  if (x->refusal) return refuse(x, x->refusal);
  x->stage = PERIGEE_HTTP_WAITING;
  x->server->is_dirty = 1; /* when Lua has had its turn, this is called again */
  perigee_http_queue(x);
  return MHD_YES;
}

enum MHD_Result perigee_http_on_request(void *server, struct MHD_Connection *of, const char *path,
                                        const char *method, const char *version, const char *bytes,
                                        size_t *count, void **exchange) {
  perigee_http_exchange *x = *exchange;
  (void)server;
  (void)of;
  (void)path;
  if (!x || x->is_gone) return MHD_NO;
  if (!x->is_begun) return begin(x, method, version);
  if (*count > 0) {
    enum MHD_Result result = take_in(x, bytes, *count);
    *count = 0;
    return result;
  }
  if (x->stage == PERIGEE_HTTP_READING) return complete(x);
  if (x->stage == PERIGEE_HTTP_ANSWERED) return perigee_http_queue_answer(x);
  perigee_http_suspend(x);
  return MHD_YES;
}

void perigee_http_on_completed(void *server, struct MHD_Connection *of, void **exchange,
                               enum MHD_RequestTerminationCode why) {
  perigee_http_exchange *x = *exchange;
  (void)of;
  *exchange = NULL;
  if (!x) return;
  perigee_http_connection *connection = x->connection;
  connection->exchange = NULL;
  if (why != MHD_REQUEST_TERMINATED_COMPLETED_OK || x->stage != PERIGEE_HTTP_ANSWERED ||
      (x->is_streamed && !x->has_ended)) {
    perigee_http_gone(x);
  }
  perigee_http_release(x);
  perigee_http_rest(server, connection);
}
