/* SPDX-License-Identifier: MIT
 *
 * Bodies in chunks whose sizes have no end. The line with the size of a chunk may have extensions;
 * when it fills the buffer of its connection, libmicrohttpd before 1.0 has no room to read on, and
 * wants to be run again and again for nothing until the connection times out.
 *
 *     came ........ read by the daemon ........ (in the socket)
 *           seen ──► at most so much further, or it is such a line
 *
 * `seen` is what the daemon had read when it last handed over bytes of the body: it hands over
 * whatever is there, so what it has read since then is a line of a size, or trailers.
 */
#define _GNU_SOURCE
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "rt/http_state.h"

enum { LINE_MAX_BYTES = 4096 };

static const double LOOK_S = 0.01;

/* Bytes that have come on a connection since it was opened; and those of them that are unread. */
static double bytes_come(int fd) {
  struct tcp_info info = {0}; /* a kernel that does not know leaves it 0 */
  socklen_t size = sizeof info;
  getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
  return (double)info.tcpi_bytes_received;
}

static double bytes_unread(int fd) {
  int count = 0;
  ioctl(fd, FIONREAD, &count);
  return count;
}

/* Should more come between the two calls, that counts as read here, and as unread below. */
void perigee_http_chunks_seen(perigee_http_exchange *x) {
  if (!x->is_chunked || x->seen_in_run == x->server->runs) return;
  x->seen_in_run = x->server->runs;
  x->bytes_seen = -bytes_unread(x->connection->fd);
  x->bytes_seen += bytes_come(x->connection->fd);
}

static int is_endless(const perigee_http_exchange *x) {
  if (!x->is_chunked) return 0;
  double since = bytes_come(x->connection->fd) - x->bytes_seen;
  return since - bytes_unread(x->connection->fd) > LINE_MAX_BYTES;
}

void perigee_http_drop_endless_chunks(perigee_http_server *server) {
  double now = perigee_loop_now();
  if (now < server->looked_s + LOOK_S) return;
  server->looked_s = now;
  for (perigee_http_connection *c = server->oldest, *next; c; c = next) {
    next = c->newer;
    if (c->exchange && is_endless(c->exchange))
      perigee_http_hang_up(server, c, MHD_HTTP_BAD_REQUEST);
  }
}
