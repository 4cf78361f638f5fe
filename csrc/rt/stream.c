/* SPDX-License-Identifier: MIT
 *
 * One read or write per wake-up keeps several busy processes fair to each other; libev is
 * level-triggered and calls again. Writing into a pipe that nobody reads raises SIGPIPE: it is
 * blocked around the call and taken back, so that no handler of the host ever sees it.
 */
#define _GNU_SOURCE
#include "rt/stream.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { READ_STEP = PERIGEE_IF_HARD(509, 65536) };

int perigee_input_init(perigee_input *input, const char *bytes, size_t length) {
  *input = (perigee_input){0};
  if (length == 0) return 0;
  input->bytes = perigee_alloc(length);
  if (!input->bytes) return -1;
  memcpy(input->bytes, bytes, length);
  input->length = length;
  return 0;
}

static ssize_t write_quietly(int fd, const char *bytes, size_t length) {
  sigset_t sigpipe, pending, before;
  struct timespec at_once = {0, 0};
  sigemptyset(&sigpipe);
  sigaddset(&sigpipe, SIGPIPE);
  sigpending(&pending);
  pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
  ssize_t n = write(fd, bytes, length);
  int failed = errno;
  if (n < 0 && failed == EPIPE && !sigismember(&pending, SIGPIPE)) {
    while (sigtimedwait(&sigpipe, NULL, &at_once) < 0 && errno == EINTR) {}
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  errno = failed;
  return n;
}

static void on_writable(struct ev_loop *ev, ev_io *io, int events) {
  perigee_input *input = io->data;
  (void)ev;
  (void)events;
  ssize_t n = write_quietly(io->fd, input->bytes + input->written, input->length - input->written);
  if (n > 0) input->written += (size_t)n;
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0 || input->written == input->length) perigee_input_close(input);
}

void perigee_input_open(perigee_input *input, struct ev_loop *ev, int fd) {
  if (fd < 0) return;
  ev_io_init(&input->io, on_writable, fd, EV_WRITE);
  input->io.data = input;
  input->ev = ev;
  if (input->length == 0) {
    perigee_input_close(input);
  } else {
    ev_io_start(ev, &input->io);
  }
}

void perigee_input_close(perigee_input *input) {
  if (input->ev) {
    ev_io_stop(input->ev, &input->io);
    close(input->io.fd);
    input->ev = NULL;
  }
  perigee_dealloc(input->bytes);
  input->bytes = NULL;
}

/* Room for one byte more than `max` shows that there is more. */
static uint32_t make_room(perigee_output *output) {
  uint64_t bound = (uint64_t)output->max + 1;
  uint64_t wanted = (uint64_t)output->length + READ_STEP;
  if (wanted > bound) wanted = bound;
  if (perigee_grow((void **)&output->bytes, &output->capacity, (uint32_t)wanted, 1)) return 0;
  return (uint32_t)wanted - output->length;
}

/* One read. Returns 1 if there may be more, 0 if not now, -1 when it has closed itself. */
static int read_once(perigee_output *output) {
  uint32_t room = make_room(output);
  ssize_t n = room ? read(output->io.fd, output->bytes + output->length, room) : -1;
  if (room && n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (n > 0) output->length += (uint32_t)n;
  if (!room || output->length > output->max) output->overflow = 1;
  if (n > 0 && !output->overflow) return 1;
  perigee_output_close(output);
  return -1;
}

static void on_output(struct ev_loop *ev, ev_io *io, int events) {
  perigee_output *output = io->data;
  (void)ev;
  (void)events;
  if (read_once(output) < 0) output->changed(output->owner);
}

void perigee_output_open(perigee_output *output, struct ev_loop *ev, int fd, double max,
                         void (*changed)(void *owner), void *owner) {
  *output = (perigee_output){.ev = ev, .changed = changed, .owner = owner};
  output->max = max < UINT32_MAX / 4 ? (uint32_t)max : UINT32_MAX / 4;
  ev_io_init(&output->io, on_output, fd, EV_READ);
  output->io.data = output;
  ev_io_start(ev, &output->io);
}

void perigee_output_read(perigee_output *output) {
  while (output->ev && read_once(output) > 0) {}
}

int perigee_output_is_open(const perigee_output *output) {
  return output->ev != NULL;
}

void perigee_output_close(perigee_output *output) {
  if (!output->ev) return;
  ev_io_stop(output->ev, &output->io);
  close(output->io.fd);
  output->ev = NULL;
}

void perigee_output_fini(perigee_output *output) {
  perigee_output_close(output);
  perigee_dealloc(output->bytes);
  output->bytes = NULL;
}
