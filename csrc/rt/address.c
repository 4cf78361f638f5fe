/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "rt/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static socklen_t local_address(const char *path, struct sockaddr_storage *filled) {
  struct sockaddr_un *local = (struct sockaddr_un *)filled;
  if (strlen(path) >= sizeof local->sun_path) return 0;
  local->sun_family = AF_UNIX;
  strcpy(local->sun_path, path);
  return sizeof *local;
}

/* Fills it in: its size, or 0 if it is none. */
static socklen_t internet_address(const char *text, int port, struct sockaddr_storage *filled) {
  struct sockaddr_in *v4 = (struct sockaddr_in *)filled;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)filled;
  memset(filled, 0, sizeof *filled);
  if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    return sizeof *v4;
  }
  if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1) return 0;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons((uint16_t)port);
  return sizeof *v6;
}

int perigee_address_connect(const char *text, int port) {
  struct sockaddr_storage address;
  memset(&address, 0, sizeof address);
  socklen_t size = port ? internet_address(text, port, &address) : local_address(text, &address);
  if (size == 0) return -EINVAL;
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
  if (fd < 0) return -errno;
  if (connect(fd, (struct sockaddr *)&address, size) < 0 && errno != EINPROGRESS) {
    int error = errno;
    close(fd);
    return -error;
  }
  if (port) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

static int port_of(int fd) {
  struct sockaddr_storage address;
  socklen_t size = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &size) < 0) return 0;
  return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                             : ((struct sockaddr_in *)&address)->sin_port);
}

int perigee_address_listen(const char *text, int port, int *port_taken) {
  struct sockaddr_storage address;
  socklen_t size = internet_address(text, port, &address);
  if (size == 0) return -EINVAL;
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
  if (fd < 0) return -errno;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, SOMAXCONN) < 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  *port_taken = port_of(fd);
  return fd;
}
