/* SPDX-License-Identifier: MIT
 *
 * stream.h: the pipes of a process: one that is fed, and those that are drained into memory up
 * to a bound. Both are driven by the loop and close themselves at their end.
 */
#ifndef PERIGEE_STREAM_H
#define PERIGEE_STREAM_H

#include <ev.h>

#include "base/base.h"

/* Bytes for the standard input of a process. */
typedef struct perigee_input {
  ev_io io;
  struct ev_loop *ev; /* NULL: closed */
  char *bytes;
  size_t length, written;
} perigee_input;

/* perigee_input_init: copies the bytes. 0, or -1 when memory is out. */
int perigee_input_init(perigee_input *input, const char *bytes, size_t length);

/* perigee_input_open: takes over `fd` (-1: there is none) and writes to it until all is written
 * or nobody reads any more, then closes it. */
void perigee_input_open(perigee_input *input, struct ev_loop *ev, int fd);

/* perigee_input_close: closes the pipe and drops the bytes; may be called twice. */
void perigee_input_close(perigee_input *input);

/* What a process writes. */
typedef struct perigee_output {
  ev_io io;
  struct ev_loop *ev; /* NULL: closed */
  char *bytes;
  uint32_t length, capacity, max;
  uint8_t overflow; /* there was more than `max` (or than there is memory for) */
  void (*changed)(void *owner);
  void *owner;
} perigee_output;

/* perigee_output_open: takes over `fd`; `changed(owner)` is called when it has closed itself, at
 * its end or because of an overflow. */
void perigee_output_open(perigee_output *output, struct ev_loop *ev, int fd, double max,
                         void (*changed)(void *owner), void *owner);

/* perigee_output_read: takes what is there now; does not call `changed`. */
void perigee_output_read(perigee_output *output);

int perigee_output_is_open(const perigee_output *output);
void perigee_output_close(perigee_output *output); /* keeps the bytes */
void perigee_output_fini(perigee_output *output);  /* closes it and drops the bytes */

#endif
