/* SPDX-License-Identifier: MIT
 *
 * One block per reply: the struct, and behind it the text or the list of elements. hiredis' own
 * replies change their layout between versions; these are ours, and Lua reads their fields.
 */
#include "rt/reply.h"

#include <hiredis/hiredis.h>
#include <string.h>

enum {
  ELEMENTS_MAX = 1 << 20, /* of one list: what we ask for is far below */
  BUFFER_KEPT = 1 << 20,  /* a larger one is given back when it is empty */
};

static const perigee_reply nil = {.kind = PERIGEE_REPLY_NIL}; /* all of them: most fences are */

void perigee_reply_free(perigee_reply *reply) {
  if (!reply || reply == &nil) return;
  if (reply->kind == PERIGEE_REPLY_LIST)
    for (uint32_t i = 0; i < reply->length; i++)
      perigee_reply_free((perigee_reply *)(uintptr_t)reply->elements[i]);
  perigee_dealloc(reply);
}

static void *attached(const redisReadTask *task, perigee_reply *reply) {
  if (!reply || !task->parent) return reply;
  const perigee_reply *parent = task->parent->obj;
  const perigee_reply **elements = (const perigee_reply **)(uintptr_t)parent->elements;
  elements[task->idx] = reply;
  return reply;
}

static perigee_reply *new_reply(int32_t kind, size_t more) {
  perigee_reply *reply = perigee_zalloc(sizeof *reply + more);
  if (reply) reply->kind = kind;
  return reply;
}

static void *create_string(const redisReadTask *task, char *text, size_t length) {
  int32_t kind = task->type == REDIS_REPLY_ERROR    ? PERIGEE_REPLY_ERROR
                 : task->type == REDIS_REPLY_STATUS ? PERIGEE_REPLY_STATUS
                                                    : PERIGEE_REPLY_TEXT;
  perigee_reply *reply = perigee_alloc(sizeof *reply + length + 1);
  if (!reply) return NULL;
  *reply = (perigee_reply){.kind = kind};
  char *copy = (char *)(reply + 1);
  memcpy(copy, text, length);
  copy[length] = 0;
  reply->text = copy;
  reply->length = (uint32_t)length;
  return attached(task, reply);
}

static void *new_list(const redisReadTask *task, size_t elements) {
  if (elements > ELEMENTS_MAX) return NULL;
  perigee_reply *reply = new_reply(PERIGEE_REPLY_LIST, elements * sizeof(perigee_reply *));
  if (!reply) return NULL;
  reply->elements = (const perigee_reply *const *)(reply + 1);
  reply->length = (uint32_t)elements;
  return attached(task, reply);
}

#if HIREDIS_MAJOR >= 1
static void *create_list(const redisReadTask *task, size_t elements) {
  return new_list(task, elements);
}
#else
static void *create_list(const redisReadTask *task, int elements) {
  return elements < 0 ? NULL : new_list(task, (size_t)elements);
}
#endif

static void *create_number(const redisReadTask *task, long long number) {
  perigee_reply *reply = new_reply(PERIGEE_REPLY_NUMBER, 0);
  if (reply) reply->number = (double)number;
  return attached(task, reply);
}

static void *create_nil(const redisReadTask *task) {
  return attached(task, (perigee_reply *)(uintptr_t)&nil);
}

/* What the reader gives up half-way has elements that were never made: they are NULL. */
static void free_object(void *reply) {
  perigee_reply_free(reply);
}

struct redisReader *perigee_reply_reader(void) {
  static redisReplyObjectFunctions functions = {.createString = create_string,
                                                .createArray = create_list,
                                                .createInteger = create_number,
                                                .createNil = create_nil,
                                                .freeObject = free_object};
  redisReader *reader = redisReaderCreateWithFunctions(&functions);
  if (reader) reader->maxbuf = BUFFER_KEPT;
  return reader;
}
