/* SPDX-License-Identifier: MIT
 *
 *   bytes   left ......... at ......... command_at ......... size ......... capacity
 *           written        to be written,   being made         free
 *                          whole commands
 *
 * What is to be written moves to the front when more than half has left.
 */
#include "rt/outbox.h"

#include <string.h>

enum { SIZE_KEPT = 1 << 20 }; /* a larger buffer is given back when it is empty */

void perigee_outbox_fini(perigee_outbox *outbox) {
  perigee_dealloc(outbox->bytes);
  *outbox = (perigee_outbox){0};
}

static int make_room(perigee_outbox *outbox, size_t more) {
  uint64_t needed = (uint64_t)outbox->size + more;
  if (needed > INT32_MAX) return -1;
  return perigee_grow((void **)&outbox->bytes, &outbox->capacity, (uint32_t)needed, 1);
}

static void add(perigee_outbox *outbox, const char *bytes, size_t length) {
  if (outbox->is_broken || make_room(outbox, length)) {
    outbox->is_broken = 1;
    return;
  }
  memcpy(outbox->bytes + outbox->size, bytes, length);
  outbox->size += (uint32_t)length;
}

static void add_count(perigee_outbox *outbox, char what, uint32_t count) {
  char text[16], *at = text + sizeof text;
  *--at = '\n';
  *--at = '\r';
  do *--at = (char)('0' + count % 10);
  while (count /= 10);
  *--at = what;
  add(outbox, at, (size_t)(text + sizeof text - at));
}

static void move_to_front(perigee_outbox *outbox) {
  outbox->size -= outbox->at;
  memmove(outbox->bytes, outbox->bytes + outbox->at, outbox->size);
  outbox->at = 0;
}

void perigee_outbox_begin(perigee_outbox *outbox, uint32_t arguments, int is_refused) {
  if (outbox->at > outbox->size / 2) move_to_front(outbox);
  outbox->command_at = outbox->size;
  outbox->is_open = 1;
  outbox->is_broken = is_refused;
  add_count(outbox, '*', arguments);
}

void perigee_outbox_joined(perigee_outbox *outbox, const char *head, uint32_t head_length,
                           const char *rest, uint32_t rest_length) {
  add_count(outbox, '$', head_length + rest_length);
  add(outbox, head, head_length);
  add(outbox, rest, rest_length);
  add(outbox, "\r\n", 2);
}

void perigee_outbox_argument(perigee_outbox *outbox, const char *bytes, uint32_t length) {
  perigee_outbox_joined(outbox, bytes, length, "", 0);
}

int perigee_outbox_end(perigee_outbox *outbox) {
  outbox->is_open = 0;
  if (!outbox->is_broken) return 0;
  perigee_outbox_take_back(outbox);
  return -1;
}

void perigee_outbox_take_back(perigee_outbox *outbox) {
  outbox->size = outbox->command_at;
}

uint32_t perigee_outbox_waiting(const perigee_outbox *outbox) {
  return (outbox->is_open ? outbox->command_at : outbox->size) - outbox->at;
}

void perigee_outbox_leave(perigee_outbox *outbox, uint32_t count) {
  outbox->at += count;
  if (outbox->at < outbox->size || outbox->is_open) return;
  outbox->at = outbox->size = outbox->command_at = 0;
  if (outbox->capacity > SIZE_KEPT) perigee_outbox_fini(outbox);
}

const char *perigee_outbox_verify(const perigee_outbox *outbox) {
  PERIGEE_VERIFY(outbox->at <= outbox->size && outbox->size <= outbox->capacity);
  PERIGEE_VERIFY(outbox->command_at <= outbox->size);
  return NULL;
}
