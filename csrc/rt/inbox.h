/* SPDX-License-Identifier: MIT
 *
 * inbox.h: messages that wait to be taken, the oldest first. Private to the runtime.
 */
#ifndef PERIGEE_INBOX_H
#define PERIGEE_INBOX_H

#include "rt/reply.h"

/* All zero: an empty one. */
typedef struct perigee_inbox {
  perigee_reply **messages;
  uint32_t capacity, count, at; /* those before `at` are taken */
  perigee_reply *taken;         /* the last one that was, until the next */
} perigee_inbox;

void perigee_inbox_fini(perigee_inbox *inbox);

/* perigee_inbox_keep: the message is the inbox's, whatever comes of it. 0, or -1: there are 100,000
 * already, so that who should take them is not there; or memory is out. */
int perigee_inbox_keep(perigee_inbox *inbox, perigee_reply *message);

/* perigee_inbox_take: borrowed until the next call; NULL: there is none. */
const perigee_reply *perigee_inbox_take(perigee_inbox *inbox);

const char *perigee_inbox_verify(const perigee_inbox *inbox);

#endif
