/* SPDX-License-Identifier: MIT
 *
 *   messages   taken ......... at ......... count ......... capacity
 *              freed            kept         free
 *
 * What is kept moves to the front when more than half of the messages are taken.
 */
#include "rt/inbox.h"

#include <string.h>

enum { MESSAGES_MAX = 100000 };

void perigee_inbox_fini(perigee_inbox *inbox) {
  for (uint32_t i = inbox->at; i < inbox->count; i++) perigee_reply_free(inbox->messages[i]);
  perigee_reply_free(inbox->taken);
  perigee_dealloc(inbox->messages);
  *inbox = (perigee_inbox){0};
}

static void move_to_front(perigee_inbox *inbox) {
  inbox->count -= inbox->at;
  memmove(inbox->messages, inbox->messages + inbox->at, inbox->count * sizeof *inbox->messages);
  inbox->at = 0;
}

int perigee_inbox_keep(perigee_inbox *inbox, perigee_reply *message) {
  if (inbox->at > inbox->count / 2) move_to_front(inbox);
  if (inbox->count - inbox->at >= MESSAGES_MAX ||
      perigee_grow((void **)&inbox->messages, &inbox->capacity, inbox->count + 1,
                   sizeof *inbox->messages)) {
    perigee_reply_free(message);
    return -1;
  }
  inbox->messages[inbox->count++] = message;
  return 0;
}

const perigee_reply *perigee_inbox_take(perigee_inbox *inbox) {
  perigee_reply_free(inbox->taken);
  inbox->taken = inbox->at < inbox->count ? inbox->messages[inbox->at++] : NULL;
  return inbox->taken;
}

const char *perigee_inbox_verify(const perigee_inbox *inbox) {
  PERIGEE_VERIFY(inbox->at <= inbox->count && inbox->count <= inbox->capacity);
  for (uint32_t i = inbox->at; i < inbox->count; i++)
    PERIGEE_VERIFY(inbox->messages[i] && inbox->messages[i] != inbox->taken);
  return NULL;
}
