/* SPDX-License-Identifier: MIT
 *
 *   head lines ──► head ──(blank line, final)──► has_head ──► body ... ──► ended
 *       ▲                        │
 *       └── next response ◄──────┘ 1xx, or a redirect that is followed
 *
 * The head is collected anew with each response; what follows the final one (trailers) is dropped,
 * but counts: curl keeps it.
 * Curl follows redirects by itself: it sends Authorization and Cookie to the first host only, makes
 * a POST a GET as browsers do, and skips the bodies in between.
 */
#define _GNU_SOURCE
#include "rt/http_transfer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum {
  WINDOW_BYTES = PERIGEE_IF_HARD(64, 128 * 1024), /* of a stream's body are kept at a time */
  LONGEST_CONNECT_MS = 1000 * 60 * 60 * 24
};

#define LOOPBACK "localhost,127.0.0.1,::1"

static void tell(perigee_http_transfer *transfer) {
  double ticket = transfer->ticket;
  transfer->ticket = 0;
  if (ticket != 0) perigee_tickets_unpark(perigee_loop_tickets(transfer->loop), ticket);
}

void perigee_http_transfer_expect(perigee_http_transfer *transfer, int is_expected) {
  if (transfer->is_expected != is_expected)
    perigee_loop_expect(transfer->loop, is_expected - transfer->is_expected);
  transfer->is_expected = (uint8_t)is_expected;
}

/* What curl hands over: each returns the bytes it took; any other number breaks the transfer off. */

static size_t refuse(perigee_http_transfer *transfer, int failure) {
  transfer->failure = failure;
  return 0;
}

static int keep(char **bytes, uint32_t *length, uint32_t *capacity, const char *more, size_t size) {
  if (perigee_grow((void **)bytes, capacity, *length + (uint32_t)size, 1)) return -1;
  memcpy(*bytes + *length, more, size);
  *length += (uint32_t)size;
  return 0;
}

static int begins_with(const char *line, size_t size, const char *word) {
  size_t length = strlen(word);
  return size >= length && strncasecmp(line, word, length) == 0;
}

static void end_of_head(perigee_http_transfer *transfer) {
  long status = 0;
  curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
  if (status < 200) return;
  transfer->status = (int32_t)status;
  transfer->is_whole = 1;
  if (transfer->follows && status < 400 && status >= 300 && transfer->has_location) {
    /* "See other" is to be got, whatever the method was; curl insists on one it was told. */
    if (status == 303) curl_easy_setopt(transfer->easy, CURLOPT_CUSTOMREQUEST, NULL);
    return;
  }
  transfer->has_head = 1;
  if (transfer->is_stream) tell(transfer);
}

static size_t on_head(char *line, size_t one, size_t size, void *context) {
  perigee_http_transfer *transfer = context;
  (void)one;
  transfer->head_total += (uint32_t)size;
  if (transfer->head_total > PERIGEE_HTTP_HEAD_BYTES_MAX)
    return refuse(transfer, PERIGEE_HTTP_HEAD_TOO_LARGE);
  if (transfer->has_head) return size;
  if (begins_with(line, size, "HTTP/")) {
    transfer->head_bytes = 0;
    transfer->has_location = transfer->is_whole = 0;
  }
  if (keep(&transfer->head, &transfer->head_bytes, &transfer->head_capacity, line, size))
    return refuse(transfer, PERIGEE_HTTP_NO_MEMORY);
  if (begins_with(line, size, "location:")) transfer->has_location = 1;
  if (line[0] == '\r' || line[0] == '\n') end_of_head(transfer);
  return size;
}

static int is_announced_too_large(perigee_http_transfer *transfer) {
  curl_off_t length = -1;
  if (transfer->is_compressed) return 0;
  curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
  return (double)length > transfer->body_max;
}

static size_t on_body(char *bytes, size_t one, size_t size, void *context) {
  perigee_http_transfer *transfer = context;
  (void)one;
  if (transfer->is_stream && transfer->body_bytes > 0 &&
      transfer->body_bytes + size > WINDOW_BYTES) {
    transfer->is_paused = 1;
    perigee_http_transfer_expect(transfer, 0);
    return CURL_WRITEFUNC_PAUSE;
  }
  if (transfer->body_total + (double)size > transfer->body_max || is_announced_too_large(transfer))
    return refuse(transfer, PERIGEE_HTTP_BODY_TOO_LARGE);
  if (keep(&transfer->body, &transfer->body_bytes, &transfer->body_capacity, bytes, size))
    return refuse(transfer, PERIGEE_HTTP_NO_MEMORY);
  transfer->body_total += (double)size;
  if (transfer->is_stream) tell(transfer);
  return size;
}

/* Not for the processes that this one starts. */
static curl_socket_t open_socket(void *context, curlsocktype purpose,
                                 struct curl_sockaddr *address) {
  (void)context;
  (void)purpose;
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* What curl is told. */

static int add_header(perigee_http_transfer *transfer, const char *line) {
  struct curl_slist *longer = curl_slist_append(transfer->headers, line);
  if (!longer) return -1;
  transfer->headers = longer;
  return 0;
}

static int set_headers(perigee_http_transfer *transfer, const char *const *lines) {
  for (; *lines; lines++)
    if (add_header(transfer, *lines)) return -1;
  return curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers) ? -1 : 0;
}

/* With CUSTOMREQUEST curl goes on as it would for a GET or POST, under another name. */
static int set_method(CURL *easy, const perigee_http_client_order *order) {
  const char *method = order->method;
  int is_post = strcmp(method, "POST") == 0;
  int has_body = order->body || is_post || strcmp(method, "PUT") == 0 || !strcmp(method, "PATCH");
  if (strcmp(method, "HEAD") == 0) return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L) != CURLE_OK;
  if (has_body) {
    curl_off_t size = order->body ? (curl_off_t)order->body_bytes : 0;
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, size);
    if (curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, size ? order->body : "")) return -1;
  }
  if (has_body ? is_post : strcmp(method, "GET") == 0) return 0;
  return curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method) != CURLE_OK;
}

static int set_url(CURL *easy, const char *url) {
  CURLU *parts = curl_url();
  if (!parts) return ENOMEM;
  CURLUcode code = curl_url_set(parts, CURLUPART_URL, url, 0);
  curl_url_cleanup(parts);
  if (code == CURLUE_OUT_OF_MEMORY) return ENOMEM;
  if (code) return EINVAL;
  return curl_easy_setopt(easy, CURLOPT_URL, url) ? ENOMEM : 0;
}

static int set_trust(CURL *easy, const perigee_http_client_order *order) {
  int failed = 0;
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  if (order->insecure) {
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  if (order->ca_file) { /* these, and not the system's beside them */
    failed = curl_easy_setopt(easy, CURLOPT_CAINFO, order->ca_file) != CURLE_OK;
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
  }
  return failed;
}

static int set_no_proxy(CURL *easy) {
  char text[1024] = LOOPBACK;
  const char *others = getenv("no_proxy") ? getenv("no_proxy") : getenv("NO_PROXY");
  if (others && strcmp(others, "*") == 0) return curl_easy_setopt(easy, CURLOPT_NOPROXY, "*") != 0;
  if (others && strlen(others) < sizeof text - sizeof LOOPBACK) {
    strcat(text, ",");
    strcat(text, others);
  }
  return curl_easy_setopt(easy, CURLOPT_NOPROXY, text) != 0;
}

static int set_limits(CURL *easy, const perigee_http_client_order *order) {
  double connect_ms = fmin(ceil(order->connect_timeout_s * 1000), LONGEST_CONNECT_MS);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)fmax(connect_ms, 1));
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, order->redirects > 0 ? 1L : 0L);
  curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)order->redirects);
#if LIBCURL_VERSION_NUM >= 0x075700
  /* Else one that is broken off while its host is looked up would wait for that to end. */
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
  if (curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https")) return -1;
  return curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https") ? -1 : 0;
}

static void set_callbacks(perigee_http_transfer *transfer) {
  CURL *easy = transfer->easy;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
}

int perigee_http_transfer_init(perigee_http_transfer *transfer, perigee_loop *loop, CURL *easy,
                               const perigee_http_client_order *order) {
  double most = order->stream ? INFINITY : PERIGEE_HTTP_BODY_BYTES_MAX;
  transfer->loop = loop;
  transfer->easy = easy;
  transfer->body_max = fmin(order->max_body, most);
  transfer->is_stream = order->stream != 0;
  transfer->follows = order->redirects > 0;
  transfer->is_compressed = order->compressed != 0;
  int failed = set_url(easy, order->url);
  if (failed) return failed;
  set_callbacks(transfer);
  if (set_limits(easy, order) || set_no_proxy(easy) || set_trust(easy, order)) return ENOMEM;
  if (set_method(easy, order) || set_headers(transfer, order->headers)) return ENOMEM;
  if (order->compressed && curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "")) return ENOMEM;
  return 0;
}

/* Its end. */

/* Curl says that memory is out when a line is longer than it takes, too: 100 KB. */
static int failure_of(const perigee_http_transfer *transfer, CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return PERIGEE_HTTP_FINE;
    case CURLE_OPERATION_TIMEDOUT:
      return PERIGEE_HTTP_TIMEOUT;
    case CURLE_OUT_OF_MEMORY:
      return transfer->has_head ? PERIGEE_HTTP_NO_MEMORY : PERIGEE_HTTP_HEAD_TOO_LARGE;
    default:
      return PERIGEE_HTTP_FAILED;
  }
}

void perigee_http_transfer_end(perigee_http_transfer *transfer, CURLcode code) {
  if (transfer->failure == PERIGEE_HTTP_FINE) transfer->failure = failure_of(transfer, code);
  if (transfer->failure == PERIGEE_HTTP_FINE && !transfer->is_whole) {
    transfer->failure = PERIGEE_HTTP_FAILED; /* curl is content with half a head */
    strcpy(transfer->error, "the connection was closed before the headers ended");
  }
  if (code && transfer->error[0] == 0)
    strncpy(transfer->error, curl_easy_strerror(code), sizeof transfer->error - 1);
  if (transfer->failure == PERIGEE_HTTP_FINE) transfer->has_head = 1;
  transfer->easy = NULL;
  transfer->ended = 1;
  transfer->is_paused = 0;
  perigee_http_transfer_expect(transfer, 0);
  tell(transfer);
}

void perigee_http_transfer_fini(perigee_http_transfer *transfer) {
  perigee_http_transfer_expect(transfer, 0);
  tell(transfer);
  curl_slist_free_all(transfer->headers);
  perigee_dealloc(transfer->head);
  perigee_dealloc(transfer->body);
}

void perigee_http_transfer_resume(perigee_http_transfer *transfer) {
  if (transfer->is_stream) transfer->body_bytes = 0;
  if (!transfer->is_paused) return;
  transfer->is_paused = 0;
  perigee_http_transfer_expect(transfer, 1);
  curl_easy_pause(transfer->easy, CURLPAUSE_CONT); /* may call on_body, and pause it again */
}

void perigee_http_transfer_view(const perigee_http_transfer *transfer,
                                perigee_http_client_view *view) {
  *view = (perigee_http_client_view){
    .head = transfer->head,
    .head_bytes = transfer->has_head ? transfer->head_bytes : 0,
    .body = transfer->body,
    .body_bytes = transfer->body_bytes,
    .error = transfer->error,
    .status = transfer->status,
    .has_head = transfer->has_head,
    .ended = transfer->ended,
    .failure = transfer->failure,
  };
}

const char *perigee_http_transfer_verify(const perigee_http_transfer *transfer) {
  PERIGEE_VERIFY(transfer->ended == !transfer->easy);
  PERIGEE_VERIFY(transfer->is_expected == (!transfer->ended && !transfer->is_paused));
  PERIGEE_VERIFY(!transfer->is_paused || transfer->body_bytes > 0);
  PERIGEE_VERIFY(!transfer->is_stream || transfer->body_bytes <= transfer->body_capacity);
  PERIGEE_VERIFY(!transfer->ended || transfer->failure || transfer->has_head);
  return NULL;
}
