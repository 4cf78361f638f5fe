/* SPDX-License-Identifier: MIT
 *
 * What is no request: a line or fields that RFC 9110 and 9112 forbid. Most of it would be harmless
 * here; but a proxy in front may read the same bytes differently, and then one of us takes a part
 * of one request for another (request smuggling), or a field for another.
 *
 * libmicrohttpd before 1.0 takes the bytes before a NUL for the whole of a text, and appends a line
 * that begins with a space to the *name* of the field above. Both can be seen from where the texts
 * stand, since it cuts them out of the bytes that came:
 *
 *     METHOD 0 target 0 VERSION 0 0 Name 0 value 0 0 Name 0 value 0 0 0 0
 *
 * Between two texts only NUL, CR, LF, spaces and tabs may stand; anything else was behind a NUL.
 * The name that a line was appended to is a copy, which stands behind all of them.
 */
#include <string.h>
#include <strings.h>

#include "rt/http_state.h"

typedef perigee_http_framing framing;

static int is(const char *name, size_t bytes, const char *wanted) {
  return bytes == strlen(wanted) && strncasecmp(name, wanted, bytes) == 0;
}

static int is_token(const char *text, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    unsigned char c = (unsigned char)text[i], letter = c | 0x20;
    if ((letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') || c == '-') continue;
    if (c == 0 || !strchr("!#$%&'*+.^_`|~", c)) return 0;
  }
  return bytes > 0;
}

static int has_controls(const char *text, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    unsigned char c = (unsigned char)text[i];
    if ((c < 0x20 && c != '\t') || c == 0x7f) return 1;
  }
  return 0;
}

/* A number of bytes, or -1. */
static double length_of(const char *text, size_t bytes) {
  double number = 0;
  if (bytes == 0 || bytes > 18) return -1;
  for (size_t i = 0; i < bytes; i++) {
    if (text[i] < '0' || text[i] > '9') return -1;
    number = number * 10 + (text[i] - '0');
  }
  return number;
}

/* Whether nothing stands between two texts, of which `next` comes later. */
static int adjoin(const char *end, const char *next) {
  if (next < end) return 0;
  for (; end < next; end++)
    if (*end && !strchr("\r\n \t", *end)) return 0;
  return 1;
}

static int cuts_at_nul(void) {
  return MHD_get_version()[0] == '0';
}

static enum MHD_Result look_at(void *found_, enum MHD_ValueKind kind, const char *name,
                               size_t name_bytes, const char *value, size_t value_bytes) {
  framing *found = found_;
  (void)kind;
  if (found->end && value) {
    found->bad += !adjoin(found->end, name) || !adjoin(name + name_bytes, value);
    found->end = value + value_bytes;
  }
  if (!value) value = "";
  found->bad += !is_token(name, name_bytes) || has_controls(value, value_bytes);
  if (is(name, name_bytes, "host")) found->hosts++;
  if (is(name, name_bytes, "expect")) found->expects++;
  if (is(name, name_bytes, "transfer-encoding")) {
    found->encodings++;
    found->bad += !is(value, value_bytes, "chunked");
  }
  if (is(name, name_bytes, "content-length")) {
    found->lengths++;
    found->length = length_of(value, value_bytes);
    found->bad += found->length < 0;
  }
  return MHD_YES;
}

static int is_bad_line(const perigee_http_exchange *x) {
  size_t method_bytes = strlen(x->method);
  if (!is_token(x->method, method_bytes)) return 1;
  if (strchr(x->target, ' ') || has_controls(x->target, strlen(x->target)) ||
      strchr(x->target, '\t'))
    return 1;
  return cuts_at_nul() && (!adjoin(x->method + method_bytes, x->line_target) ||
                           !adjoin(x->line_target + strlen(x->target), x->version));
}

static int is_bad_framing(const perigee_http_exchange *x, const framing *found) {
  int is_new = strcmp(x->version, MHD_HTTP_VERSION_1_1) == 0;
  if (found->lengths > 1 || found->encodings > 1 || (found->lengths && found->encodings)) return 1;
  return found->hosts > 1 || (is_new && found->hosts == 0) || (!is_new && found->encodings);
}

int perigee_http_judge(perigee_http_exchange *x, framing *found) {
  const union MHD_ConnectionInfo *info =
    MHD_get_connection_info(x->of, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
  size_t bytes = info ? info->header_size : 0;
  *found = (framing){0};
  if ((double)bytes > x->server->header_bytes_max) return MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE;
  if (is_bad_line(x)) return MHD_HTTP_BAD_REQUEST;
  if (cuts_at_nul()) found->end = x->version + strlen(x->version);
  MHD_get_connection_values_n(x->of, MHD_HEADER_KIND, look_at, found);
  if (found->end && bytes && !adjoin(found->end, x->method + bytes)) found->bad++;
  if (found->bad || is_bad_framing(x, found)) return MHD_HTTP_BAD_REQUEST;
  /* We are no proxy; and an answer of 200 to it would have no end. */
  return strcmp(x->method, MHD_HTTP_METHOD_CONNECT) == 0 ? MHD_HTTP_NOT_IMPLEMENTED : 0;
}
