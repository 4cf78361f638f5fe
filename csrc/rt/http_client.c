/* SPDX-License-Identifier: MIT
 *
 * Curl says which descriptors it waits for and until when; libev waits, and calls curl:
 *
 *   curl ──on_socket──► ev_io ──on_io──┐
 *        ──on_timer───► ev_timer ──────┴──► curl_multi_socket_action ──► on_head, on_body
 *                                                    └── what is done ──► its ticket is fired
 *
 * Inside its callbacks curl must not be called, so what is done is collected afterwards. A transfer
 * holds a handle of curl's until it has ended; handles are reset and used again.
 */
#define _GNU_SOURCE
#include "rt/http_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <ev.h>
#include <pthread.h>

#include "rt/http_transfer.h"

enum { ID_SLOTS = 65536, HANDLES_KEPT = 64 };

typedef perigee_http_transfer transfer;

/* The client of a loop, made by its first transfer. */
typedef struct http_client {
  perigee_loop_guest guest; /* first: the loop hands this address back */
  CURLM *multi;
  ev_timer timer;
  uint32_t sockets; /* that are watched */
  transfer **slots; /* NULL: free */
  uint32_t *generations;
  uint32_t count, capacity, generations_capacity, running;
  uint32_t first_free; /* none below is free */
  CURL *handles[HANDLES_KEPT];
  uint32_t handles_count;
} http_client;

/* Curl and the loop. */

static CURL *take_handle(http_client *client) {
  return client->handles_count ? client->handles[--client->handles_count] : curl_easy_init();
}

static void give_handle_back(http_client *client, CURL *easy) {
  if (client->handles_count == HANDLES_KEPT) {
    curl_easy_cleanup(easy);
    return;
  }
  curl_easy_reset(easy);
  client->handles[client->handles_count++] = easy;
}

static void end_transfer(http_client *client, transfer *t, CURLcode code) {
  CURL *easy = t->easy;
  curl_multi_remove_handle(client->multi, easy);
  perigee_http_transfer_end(t, code);
  give_handle_back(client, easy);
  client->running--;
}

static void collect(http_client *client) {
  int left;
  for (CURLMsg *message; (message = curl_multi_info_read(client->multi, &left));) {
    if (message->msg != CURLMSG_DONE) continue;
    transfer *t = NULL;
    CURLcode code = message->data.result;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
    end_transfer(client, t, code);
  }
}

static void act(http_client *client, curl_socket_t fd, int events) {
  int running;
  curl_multi_socket_action(client->multi, fd, events, &running);
  collect(client);
}

static void on_io(struct ev_loop *ev, ev_io *io, int events) {
  (void)ev;
  int mask = (events & EV_READ ? CURL_CSELECT_IN : 0) | (events & EV_WRITE ? CURL_CSELECT_OUT : 0);
  act(io->data, io->fd, mask);
}

static void on_timeout(struct ev_loop *ev, ev_timer *timer, int events) {
  (void)ev;
  (void)events;
  act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *multi, long wait_ms, void *context) {
  http_client *client = context;
  struct ev_loop *ev = perigee_loop_ev(client->guest.loop);
  (void)multi;
  ev_timer_stop(ev, &client->timer);
  if (wait_ms < 0) return 0;
  ev_now_update(ev);
  ev_timer_set(&client->timer, (double)wait_ms / 1000, 0);
  ev_timer_start(ev, &client->timer);
  return 0;
}

static void forget_socket(http_client *client, ev_io *io) {
  if (!io) return;
  ev_io_stop(perigee_loop_ev(client->guest.loop), io);
  perigee_dealloc(io);
  client->sockets--;
}

static ev_io *new_socket(http_client *client, curl_socket_t fd) {
  ev_io *io = perigee_zalloc(sizeof *io);
  if (!io) return NULL;
  ev_init(io, on_io);
  io->data = client;
  client->sockets++;
  curl_multi_assign(client->multi, fd, io);
  return io;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known) {
  http_client *client = context;
  struct ev_loop *ev = perigee_loop_ev(client->guest.loop);
  ev_io *io = known;
  (void)easy;
  if (what == CURL_POLL_REMOVE) {
    forget_socket(client, io);
    return 0;
  }
  if (!io) io = new_socket(client, fd);
  if (!io) return -1;
  ev_io_stop(ev, io);
  ev_io_set(io, fd, (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
  ev_io_start(ev, io);
  return 0;
}

/* Life. */

static void start_curl(void) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void on_loop_closed(perigee_loop_guest *guest);

static const perigee_loop_guest_kind kind = {.closed = on_loop_closed};

/* NULL: there was no transfer yet. */
static http_client *client_of(const perigee_loop *loop) {
  return (http_client *)perigee_loop_find(loop, &kind);
}

static http_client *new_client(perigee_loop *loop) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, start_curl);
  http_client *client = perigee_zalloc(sizeof *client);
  if (!client) return NULL;
  ev_init(&client->timer, on_timeout);
  client->timer.data = client;
  client->multi = curl_multi_init();
  if (!client->multi) {
    perigee_dealloc(client);
    return NULL;
  }
  curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
  curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
  curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)PERIGEE_HTTP_IDLE_MAX);
  perigee_loop_add(loop, &client->guest, &kind);
  return client;
}

static void dispose(http_client *client, transfer *t) {
  client->slots[t->index] = NULL;
  if (t->index < client->first_free) client->first_free = t->index;
  if (!t->ended) end_transfer(client, t, CURLE_ABORTED_BY_CALLBACK);
  perigee_http_transfer_fini(t);
  perigee_dealloc(t);
}

static void on_loop_closed(perigee_loop_guest *guest) {
  http_client *client = (http_client *)guest;
  for (uint32_t i = 0; i < client->count; i++)
    if (client->slots[i]) dispose(client, client->slots[i]);
  for (uint32_t i = 0; i < client->handles_count; i++) curl_easy_cleanup(client->handles[i]);
  curl_multi_cleanup(client->multi);
  ev_timer_stop(perigee_loop_ev(guest->loop), &client->timer);
  perigee_loop_remove(guest);
  perigee_dealloc(client->slots);
  perigee_dealloc(client->generations);
  perigee_dealloc(client);
}

/* Transfers. */

static transfer *find(perigee_loop *loop, double id) {
  http_client *client = client_of(loop);
  if (!client || !(id >= ID_SLOTS && id < 0x1p53)) return NULL;
  uint64_t number = (uint64_t)id;
  uint32_t index = number % ID_SLOTS;
  if (index >= client->count || client->generations[index] != number / ID_SLOTS) return NULL;
  return client->slots[index];
}

/* A free index, or -1 when memory is out. */
static int64_t free_index(http_client *client) {
  uint32_t index = client->first_free;
  while (index < client->count && client->slots[index]) index++;
  client->first_free = index;
  if (index < client->count) return index;
  uint32_t needed = client->count + 1;
  if (needed > ID_SLOTS) return -1;
  if (perigee_grow((void **)&client->slots, &client->capacity, needed, sizeof *client->slots) ||
      perigee_grow((void **)&client->generations, &client->generations_capacity, needed,
                   sizeof *client->generations))
    return -1;
  client->slots[index] = NULL;
  client->generations[index] = 0;
  client->count++;
  return index;
}

static int prepare(http_client *client, transfer *t, const perigee_http_client_order *order) {
  CURL *easy = take_handle(client);
  if (!easy) return ENOMEM;
  int failed = perigee_http_transfer_init(t, client->guest.loop, easy, order);
  if (!failed) perigee_http_transfer_expect(t, 1);
  if (!failed && curl_multi_add_handle(client->multi, easy)) failed = ENOMEM;
  if (failed) give_handle_back(client, easy);
  return failed;
}

PERIGEE_API double perigee_http_client_begin(perigee_loop *loop,
                                             const perigee_http_client_order *order) {
  http_client *client = client_of(loop);
  if (!client) client = new_client(loop);
  int64_t index = client ? free_index(client) : -1;
  transfer *t = index >= 0 ? perigee_zalloc(sizeof *t) : NULL;
  if (!t) return -ENOMEM;
  t->index = (uint32_t)index;
  int failed = prepare(client, t, order);
  if (failed) {
    perigee_http_transfer_fini(t);
    perigee_dealloc(t);
    return -failed;
  }
  client->slots[index] = t;
  client->running++;
  return (double)++client->generations[index] * ID_SLOTS + (double)index;
}

PERIGEE_API int32_t perigee_http_client_await(perigee_loop *loop, double id, double ticket) {
  transfer *t = find(loop, id);
  if (!t) return -1;
  t->ticket = ticket;
  return 0;
}

PERIGEE_API int32_t perigee_http_client_look(perigee_loop *loop, double id,
                                             perigee_http_client_view *view) {
  const transfer *t = find(loop, id);
  if (!t) return -1;
  perigee_http_transfer_view(t, view);
  return 0;
}

PERIGEE_API void perigee_http_client_taken(perigee_loop *loop, double id) {
  transfer *t = find(loop, id);
  if (!t) return;
  perigee_http_transfer_resume(t);
  collect(client_of(loop));
}

PERIGEE_API void perigee_http_client_drop(perigee_loop *loop, double id) {
  transfer *t = find(loop, id);
  if (t) dispose(client_of(loop), t);
}

PERIGEE_API uint32_t perigee_http_client_running(perigee_loop *loop) {
  http_client *client = client_of(loop);
  return client ? client->running : 0;
}

PERIGEE_API int32_t perigee_http_client_resolves_aside(void) {
  return (curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS) != 0;
}

PERIGEE_API const char *perigee_http_client_verify(perigee_loop *loop) {
  const http_client *client = client_of(loop);
  uint32_t running = 0, expected = 0;
  for (uint32_t i = 0; client && i < client->count; i++) {
    const transfer *t = client->slots[i];
    PERIGEE_VERIFY(t || client->first_free <= i);
    if (!t) continue;
    const char *broken = perigee_http_transfer_verify(t);
    if (broken) return broken;
    PERIGEE_VERIFY(t->index == i && t->loop == loop);
    running += !t->ended;
    expected += t->is_expected;
  }
  PERIGEE_VERIFY(!client || running == client->running);
  PERIGEE_VERIFY(perigee_loop_pending(loop) >= expected);
  return NULL;
}
