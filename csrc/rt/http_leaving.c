/* SPDX-License-Identifier: MIT
 *
 * Clients that leave: they close the connection, or their half of it.
 *
 *   our epoll ──► the list of those that left ──► before the loop waits:
 *                   a request waits for its answer, or a stream for more   it is gone
 *                   a request is read, and there is nothing more to read   hang up
 *                   anything else                                          stays in the list
 *
 * The daemon does not look at a connection that is suspended. At others it does, but where the end
 * comes together with the last bytes, libmicrohttpd before 1.0 reads the bytes only, and would wait
 * for more. So we watch each connection for its end, from its beginning, and for nothing else:
 * bytes of a next request wake nobody here.
 */
#define _GNU_SOURCE
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "rt/http_state.h"

enum { LEAVING_PER_TURN = 64 };

static void enlist(perigee_http_server *server, perigee_http_connection *connection) {
  if (connection->left_link) return;
  connection->next_left = server->left;
  connection->left_link = &server->left;
  if (server->left) server->left->left_link = &connection->next_left;
  server->left = connection;
  server->is_dirty = 1; /* what it has sent is read first */
}

static void unlist(perigee_http_connection *connection) {
  if (!connection->left_link) return;
  *connection->left_link = connection->next_left;
  if (connection->next_left) connection->next_left->left_link = connection->left_link;
  connection->left_link = NULL;
}

int perigee_http_watch(perigee_http_server *server, perigee_http_connection *connection) {
  struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = connection};
  return epoll_ctl(server->watching, EPOLL_CTL_ADD, connection->fd, &event);
}

void perigee_http_unwatch(perigee_http_server *server, perigee_http_connection *connection) {
  epoll_ctl(server->watching, EPOLL_CTL_DEL, connection->fd, NULL);
  unlist(connection);
}

void perigee_http_hear_leaving(perigee_http_server *server) {
  struct epoll_event left[LEAVING_PER_TURN];
  int count = epoll_wait(server->watching, left, LEAVING_PER_TURN, 0);
  for (int i = 0; i < count; i++) enlist(server, left[i].data.ptr);
}

static int has_unread(int fd) {
  int count = 0;
  return ioctl(fd, FIONREAD, &count) == 0 && count > 0;
}

/* Whether that settles it. */
static int part_with(perigee_http_server *server, perigee_http_connection *connection) {
  perigee_http_exchange *x = connection->exchange;
  if (x && x->is_suspended) {
    if (x->is_queued) return 0; /* Lua comes first */
    perigee_http_gone(x);
    perigee_http_resume(x);
    return 1;
  }
  if (!connection->is_reading || has_unread(connection->fd)) return 0;
  perigee_http_hang_up(server, connection, 0);
  return 1;
}

void perigee_http_part_with_left(perigee_http_server *server) {
  for (perigee_http_connection *c = server->left, *next; c; c = next) {
    next = c->next_left;
    if (part_with(server, c)) unlist(c);
  }
}
