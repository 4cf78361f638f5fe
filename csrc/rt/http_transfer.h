/* SPDX-License-Identifier: MIT
 *
 * http_transfer.h: one transfer of the HTTP client (http_client.h says what that is): what curl is
 * told about an order, and what it hands over. It knows nothing of other transfers.
 */
#ifndef PERIGEE_HTTP_TRANSFER_H
#define PERIGEE_HTTP_TRANSFER_H

#include <curl/curl.h>

#include "base/base.h"
#include "rt/http_client.h"

typedef struct perigee_http_transfer {
  perigee_loop *loop;
  CURL *easy; /* NULL: it has ended */
  struct curl_slist *headers;
  char *head, *body;
  uint32_t head_bytes, head_capacity, head_total;
  uint32_t body_bytes, body_capacity;
  double body_total, body_max;
  double ticket;
  uint32_t index;
  int32_t status, failure;
  uint8_t is_stream, follows, is_compressed;
  uint8_t has_location, is_whole; /* of the head that was read last */
  uint8_t has_head, ended;
  uint8_t is_paused;   /* curl keeps what it has until it is told to go on */
  uint8_t is_expected; /* the loop knows that it may fire its ticket */
  char error[CURL_ERROR_SIZE];
} perigee_http_transfer;

/* perigee_http_transfer_init: prepares `easy`, which is fresh or reset and from now on the
 * transfer's, for an order. 0, or an errno value; fini is called in the end either way. */
int perigee_http_transfer_init(perigee_http_transfer *transfer, perigee_loop *loop, CURL *easy,
                               const perigee_http_client_order *order);

/* perigee_http_transfer_end: curl is done with it; `easy` is the caller's again. */
void perigee_http_transfer_end(perigee_http_transfer *transfer, CURLcode code);

/* perigee_http_transfer_fini: drops what it holds but `easy`, and fires its ticket. */
void perigee_http_transfer_fini(perigee_http_transfer *transfer);

/* perigee_http_transfer_expect: whether it may still fire its ticket by itself. */
void perigee_http_transfer_expect(perigee_http_transfer *transfer, int is_expected);

/* perigee_http_transfer_resume: the body that is here was taken. */
void perigee_http_transfer_resume(perigee_http_transfer *transfer);

void perigee_http_transfer_view(const perigee_http_transfer *transfer,
                                perigee_http_client_view *view);
const char *perigee_http_transfer_verify(const perigee_http_transfer *transfer);

#endif
