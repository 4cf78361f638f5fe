/* SPDX-License-Identifier: MIT
 *
 * outbox.h: commands that wait to be written, as Redis' protocol has them. Private to the runtime.
 */
#ifndef PERIGEE_OUTBOX_H
#define PERIGEE_OUTBOX_H

#include "base/base.h"

/* All zero: an empty one. */
typedef struct perigee_outbox {
  char *bytes;
  uint32_t capacity, size, at; /* those before `at` have left */
  uint32_t command_at;         /* where the command that is being made begins */
  int is_open;                 /* it is being made */
  int is_broken;               /* and it cannot be */
} perigee_outbox;

void perigee_outbox_fini(perigee_outbox *outbox);

/* A command: begin, then as many arguments, then end. Returns 0 if there is one; it was refused from
 * the start, or memory is out, else. */
void perigee_outbox_begin(perigee_outbox *outbox, uint32_t arguments, int is_refused);
void perigee_outbox_argument(perigee_outbox *outbox, const char *bytes, uint32_t length);
void perigee_outbox_joined(perigee_outbox *outbox, const char *head, uint32_t head_length,
                           const char *rest, uint32_t rest_length); /* one, in two pieces */
int perigee_outbox_end(perigee_outbox *outbox);
void perigee_outbox_take_back(perigee_outbox *outbox); /* the last one, which has not left */

/* perigee_outbox_waiting: the bytes of whole commands from `at` on. perigee_outbox_leave: so many of them have left. */
uint32_t perigee_outbox_waiting(const perigee_outbox *outbox);
void perigee_outbox_leave(perigee_outbox *outbox, uint32_t count);

const char *perigee_outbox_verify(const perigee_outbox *outbox);

#endif
