/* SPDX-License-Identifier: MIT
 *
 *   libev ──► the daemon's epoll ──► MHD_run ──► callbacks ──► the queue ──► Lua
 *     │                                ▲
 *     ├──► our epoll: who leaves       │ what was answered: before the loop waits
 *     └──► a timer: the daemon's, and deadlines of requests that are being read
 *
 * A connection that waits for a request, or reads one, has a deadline from the moment when it was
 * opened or its last answer was complete, however slowly the bytes trickle. The daemon's own
 * timeout, since anything moved, is left for answers that nobody takes in.
 */
#define _GNU_SOURCE
#include "rt/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rt/address.h"
#include "rt/http_state.h"

enum {
  /* Bytes of memory for one connection, in which libmicrohttpd has all it needs, and all of which
   * it overwrites after each request. */
  POOL_MORE = 8 * 1024, /* than twice the headers */
  POOL_MIN = 32 * 1024,
};

void perigee_http_fire(perigee_http_server *server, double *ticket) {
  if (*ticket != 0 && server->guest.loop)
    perigee_tickets_unpark(perigee_loop_tickets(server->guest.loop), *ticket);
  *ticket = 0;
}

/* Connections. */

static void send_status(int fd, int status) {
  char text[128];
  int length =
    snprintf(text, sizeof text, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
             status, MHD_get_reason_phrase_for((unsigned)status));
  (void)!send(fd, text, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void perigee_http_hang_up(perigee_http_server *server, perigee_http_connection *connection,
                          int status) {
  if (status) send_status(connection->fd, status);
  perigee_http_leave_rest(server, connection);
  shutdown(connection->fd, SHUT_RDWR); /* the daemon sees it, and closes it */
}

void perigee_http_rest(perigee_http_server *server, perigee_http_connection *connection) {
  perigee_http_leave_rest(server, connection);
  connection->since_s = perigee_loop_now();
  connection->is_reading = 1;
  connection->older = server->newest;
  connection->newer = NULL;
  if (server->newest)
    server->newest->newer = connection;
  else
    server->oldest = connection;
  server->newest = connection;
  if (server->is_quiescent) perigee_http_hang_up(server, connection, 0);
}

void perigee_http_leave_rest(perigee_http_server *server, perigee_http_connection *connection) {
  if (!connection->is_reading) return;
  connection->is_reading = 0;
  if (connection->older)
    connection->older->newer = connection->newer;
  else
    server->oldest = connection->newer;
  if (connection->newer)
    connection->newer->older = connection->older;
  else
    server->newest = connection->older;
}

static void name_peer(perigee_http_connection *connection, const struct sockaddr *address) {
  const struct sockaddr_in *v4 = (const void *)address;
  const struct sockaddr_in6 *v6 = (const void *)address;
  if (address->sa_family == AF_INET)
    inet_ntop(AF_INET, &v4->sin_addr, connection->peer, sizeof connection->peer);
  else if (address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
    inet_ntop(AF_INET, v6->sin6_addr.s6_addr + 12, connection->peer, sizeof connection->peer);
  else if (address->sa_family == AF_INET6)
    inet_ntop(AF_INET6, &v6->sin6_addr, connection->peer, sizeof connection->peer);
}

static void on_connection(void *server_, struct MHD_Connection *of, void **context,
                          enum MHD_ConnectionNotificationCode what) {
  perigee_http_server *server = server_;
  perigee_http_connection *connection = *context;
  if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
    if (!connection) return;
    perigee_http_leave_rest(server, connection);
    perigee_http_unwatch(server, connection);
    perigee_dealloc(connection);
    *context = NULL;
    return;
  }
  int fd = MHD_get_connection_info(of, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
  connection = perigee_zalloc(sizeof *connection);
  if (connection) connection->fd = fd;
  if (!connection || perigee_http_watch(server, connection)) {
    perigee_dealloc(connection);
    shutdown(fd, SHUT_RDWR);
    return;
  }
  *context = connection;
  name_peer(connection,
            MHD_get_connection_info(of, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr);
  perigee_http_rest(server, connection);
}

/* Seconds until the next deadline. */
static double time_out_late_ones(perigee_http_server *server) {
  double now = perigee_loop_now();
  while (server->oldest && server->oldest->since_s + server->idle_timeout_s <= now) {
    perigee_http_connection *late = server->oldest;
    perigee_http_hang_up(server, late, late->exchange ? MHD_HTTP_REQUEST_TIMEOUT : 0);
  }
  return server->oldest ? server->oldest->since_s + server->idle_timeout_s - now : INFINITY;
}

/* The daemon. */

static void set_timer(perigee_http_server *server) {
  struct ev_loop *ev = perigee_loop_ev(server->guest.loop);
  unsigned long long left_ms;
  double wait_s = time_out_late_ones(server);
  if (MHD_get_timeout(server->daemon, &left_ms) == MHD_YES && (double)left_ms * 1e-3 < wait_s)
    wait_s = (double)left_ms * 1e-3;
  if (wait_s == 0) perigee_http_drop_endless_chunks(server);
  ev_timer_stop(ev, &server->due);
  if (isinf(wait_s)) return;
  ev_now_update(ev);
  ev_timer_set(&server->due, wait_s, 0);
  ev_timer_start(ev, &server->due);
}

static void run(perigee_http_server *server) {
  server->is_dirty = 0;
  server->runs++;
  MHD_run(server->daemon);
  set_timer(server);
}

static void on_readable(struct ev_loop *ev, ev_io *io, int events) {
  (void)ev;
  (void)events;
  run(io->data);
}

static void on_due(struct ev_loop *ev, ev_timer *timer, int events) {
  (void)ev;
  (void)events;
  run(timer->data);
}

static void on_leaving(struct ev_loop *ev, ev_io *io, int events) {
  (void)ev;
  (void)events;
  perigee_http_hear_leaving(io->data);
}

static void before_wait(perigee_loop_guest *guest) {
  perigee_http_server *server = (perigee_http_server *)guest;
  if (!server->daemon) return;
  if (server->is_dirty) run(server);
  if (!server->left) return;
  perigee_http_part_with_left(server);
  if (server->is_dirty) run(server);
}

/* The end. */

static void stop_listening(perigee_http_server *server) {
  if (server->listening < 0) return;
  if (server->daemon) MHD_quiesce_daemon(server->daemon);
  close(server->listening);
  server->listening = -1;
}

static void resume_all(perigee_http_server *server) {
  for (uint32_t i = 0; i < server->slots_count; i++) {
    perigee_http_exchange *x = server->slots[i].exchange;
    if (x) perigee_http_gone(x);
    if (x) perigee_http_resume(x);
  }
}

static void stop(perigee_http_server *server) {
  struct ev_loop *ev = server->guest.loop ? perigee_loop_ev(server->guest.loop) : NULL;
  stop_listening(server);
  if (server->is_expecting) {
    ev_io_stop(ev, &server->readable);
    ev_io_stop(ev, &server->leaving);
    ev_timer_stop(ev, &server->due);
    perigee_loop_expect(server->guest.loop, -1);
    server->is_expecting = 0;
  }
  if (server->daemon) {
    resume_all(server);
    MHD_stop_daemon(server->daemon);
  }
  server->daemon = NULL;
  if (server->watching >= 0) close(server->watching);
  server->watching = -1;
  perigee_http_fire(server, &server->awaiting);
}

/* The loop goes first. */
static void on_loop_closed(perigee_loop_guest *guest) {
  stop((perigee_http_server *)guest);
  perigee_loop_remove(guest);
}

PERIGEE_API void perigee_http_quiesce(perigee_http_server *server) {
  if (!server->daemon || server->is_quiescent) return;
  server->is_quiescent = 1;
  stop_listening(server);
  for (perigee_http_connection *c = server->oldest, *next; c; c = next) {
    next = c->newer;
    if (!c->exchange) perigee_http_hang_up(server, c, 0);
  }
  server->is_dirty = 1;
}

PERIGEE_API void perigee_http_free(perigee_http_server *server) {
  if (!server) return;
  stop(server);
  perigee_loop_remove(&server->guest);
  perigee_http_exchanges_fini(server);
  perigee_dealloc(server);
}

/* The beginning. */

static void on_log(void *server_, const char *format, va_list arguments) {
  perigee_http_server *server = server_;
  if (!server->daemon) vsnprintf(server->error, sizeof server->error, format, arguments);
}

static struct MHD_Daemon *start_daemon(perigee_http_server *server,
                                       const perigee_http_options *options) {
  double pool = fmax(options->header_bytes_max * 2 + POOL_MORE, POOL_MIN);
  double idle_s = options->idle_timeout_s;
  unsigned timeout_s = idle_s < 1e6 ? (unsigned)ceil(idle_s) + 1 : 0; /* ours come first */
  return MHD_start_daemon(
    MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
    perigee_http_on_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_log, server,
    MHD_OPTION_LISTEN_SOCKET, server->listening, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)pool,
    MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->connections_max, MHD_OPTION_CONNECTION_TIMEOUT,
    timeout_s, MHD_OPTION_URI_LOG_CALLBACK, perigee_http_on_line, server,
    MHD_OPTION_NOTIFY_COMPLETED, perigee_http_on_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
    on_connection, server, MHD_OPTION_END);
}

static void watch(perigee_http_server *server) {
  struct ev_loop *ev = perigee_loop_ev(server->guest.loop);
  int fd = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
  ev_io_init(&server->readable, on_readable, fd, EV_READ);
  ev_io_init(&server->leaving, on_leaving, server->watching, EV_READ);
  ev_timer_init(&server->due, on_due, 0, 0);
  server->readable.data = server->leaving.data = server->due.data = server;
  ev_io_start(ev, &server->readable);
  ev_io_start(ev, &server->leaving);
  perigee_loop_expect(server->guest.loop, 1);
  server->is_expecting = 1;
}

static void start(perigee_http_server *server, const perigee_http_options *options) {
  server->listening = perigee_address_listen(options->host, options->port, &server->port);
  if (server->listening < 0) {
    snprintf(server->error, sizeof server->error, "%s", strerror(-server->listening));
    server->listening = -1;
    return;
  }
  server->watching = epoll_create1(EPOLL_CLOEXEC);
  if (server->watching < 0) {
    snprintf(server->error, sizeof server->error, "%s", strerror(errno));
    return;
  }
  server->daemon = start_daemon(server, options);
  if (server->daemon) {
    server->error[0] = '\0';
    watch(server);
  } else if (!server->error[0]) {
    snprintf(server->error, sizeof server->error, "libmicrohttpd could not start");
  }
}

static const perigee_loop_guest_kind kind = {.before_wait = before_wait, .closed = on_loop_closed};

PERIGEE_API perigee_http_server *perigee_http_listen(perigee_loop *loop,
                                                     const perigee_http_options *options) {
  perigee_http_server *server = perigee_zalloc(sizeof *server);
  if (!server) return NULL;
  server->listening = server->watching = -1;
  server->header_bytes_max = options->header_bytes_max;
  server->body_bytes_max = options->body_bytes_max;
  server->idle_timeout_s = options->idle_timeout_s;
  perigee_loop_add(loop, &server->guest, &kind);
  start(server, options);
  if (server->error[0]) stop(server);
  return server;
}

PERIGEE_API const char *perigee_http_error(const perigee_http_server *server) {
  return server->error;
}

PERIGEE_API int32_t perigee_http_port(const perigee_http_server *server) {
  return server->port;
}

PERIGEE_API void perigee_http_await(perigee_http_server *server, double ticket) {
  server->awaiting = ticket;
  int is_done = !server->daemon || (server->is_quiescent && server->open == 0);
  if (server->first_queued || is_done) perigee_http_fire(server, &server->awaiting);
}

PERIGEE_API const char *perigee_http_verify(const perigee_http_server *server) {
  const perigee_http_connection *before = NULL;
  for (const perigee_http_connection *c = server->oldest; c; c = c->newer) {
    PERIGEE_VERIFY(c->is_reading && c->older == before);
    PERIGEE_VERIFY(!before || before->since_s <= c->since_s);
    PERIGEE_VERIFY(!c->exchange || c->exchange->stage == PERIGEE_HTTP_READING);
    before = c;
  }
  PERIGEE_VERIFY(server->newest == before);
  PERIGEE_VERIFY(server->is_expecting == (server->daemon != NULL));
  return perigee_http_exchanges_verify(server);
}
