/* SPDX-License-Identifier: MIT
 *
 * redis.h: one connection to a Redis server, on the loop.
 *
 * A *request* is a command on its way. What all tasks ask in one turn leaves with one write, and
 * replies come back in order (pipelining). A request is known by a number; when its reply is
 * there, its ticket is fired. Deadlines are the caller's: it releases the request and goes on, and
 * the reply is dropped when it comes.
 *
 * A connection that was *subscribed* gets messages, too, which nobody asked for; they are kept
 * until they are taken.
 *
 * Once a connection has failed it stays so: every request has failed, and its error says why. It
 * is freed and another one made. RESP2, read by hiredis' reader.
 */
#ifndef PERIGEE_REDIS_H
#define PERIGEE_REDIS_H

#include "base/base.h"
#include "rt/loop.h"

/* ffi: begin */
enum {
  PERIGEE_REDIS_CONNECTING,
  PERIGEE_REDIS_OPEN,
  PERIGEE_REDIS_FAILED,
};

/* states of a request */
enum {
  PERIGEE_REQUEST_WAITING,
  PERIGEE_REQUEST_ANSWERED,
  PERIGEE_REQUEST_FAILED, /* the connection has; or the number is of no request */
};

/* kinds of a reply */
enum {
  PERIGEE_REPLY_TEXT = 1,
  PERIGEE_REPLY_LIST,
  PERIGEE_REPLY_NUMBER,
  PERIGEE_REPLY_NIL,
  PERIGEE_REPLY_STATUS,
  PERIGEE_REPLY_ERROR,
};

typedef struct perigee_reply {
  int32_t kind;
  uint32_t length; /* bytes of the text, or elements of the list */
  double number;
  const char *text;
  const struct perigee_reply *const *elements;
} perigee_reply;

typedef struct perigee_redis perigee_redis;

/* perigee_redis_connect: begins to connect to a numeric address and port, or, if `port` is 0, to
 * the unix socket `address`. No more than `bytes_max` bytes of commands, and 1,000,000 requests,
 * wait at a time. NULL: memory is out; what else goes wrong makes a connection that has failed. */
perigee_redis *perigee_redis_connect(perigee_loop *loop, const char *address, int32_t port,
                                     double bytes_max);

/* perigee_redis_close: it has failed, for the reason `why`; replies that are there stay until they
 * are released. For who cannot know whether somebody still looks at it.
 * perigee_redis_free: closes it and is the end of it. Waiting tickets are fired. */
void perigee_redis_close(perigee_redis *redis, const char *why);
void perigee_redis_free(perigee_redis *redis);

int32_t perigee_redis_state(const perigee_redis *redis);
const char *perigee_redis_error(const perigee_redis *redis); /* of one that has failed */

/* perigee_redis_await: fires `ticket` once when it is open, or has failed. */
void perigee_redis_await(perigee_redis *redis, double ticket);

/* A command: begin, then as many arguments, then submit, which gives its request a number (> 0);
 * 0: too much is waiting, memory is out, or the connection has failed. With ticket 0 nobody is
 * woken by its reply. */
void perigee_redis_begin(perigee_redis *redis, int32_t arguments);
void perigee_redis_argument(perigee_redis *redis, const char *bytes, uint32_t length);
void perigee_redis_joined(perigee_redis *redis, const char *head, uint32_t head_length,
                          const char *rest, uint32_t rest_length); /* one argument, in two pieces */
double perigee_redis_submit(perigee_redis *redis, double ticket);

/* perigee_redis_retarget: the request's ticket, from now on; fired at once if it waits no more. */
void perigee_redis_retarget(perigee_redis *redis, double request, double ticket);

/* perigee_redis_check: the state of a request. perigee_redis_reply: its reply, borrowed until it is
 * released; NULL if there is none. */
int32_t perigee_redis_check(const perigee_redis *redis, double request);
const perigee_reply *perigee_redis_reply(const perigee_redis *redis, double request);
void perigee_redis_release(perigee_redis *redis, double request);

/* perigee_redis_listen: from now on there may be messages. perigee_redis_message: takes the oldest
 * one, borrowed until the next call; NULL: there is none. */
void perigee_redis_listen(perigee_redis *redis);
const perigee_reply *perigee_redis_message(perigee_redis *redis);

/* perigee_redis_write: writes what it can at once, rather than when the loop is about to wait.
 * perigee_redis_flush: and reads what is there; for plain code. */
void perigee_redis_write(perigee_redis *redis);
void perigee_redis_flush(perigee_redis *redis);

double perigee_redis_waiting(const perigee_redis *redis); /* requests */

/* perigee_redis_silence: for how many seconds the other side has been asked and done nothing: sent
 * nothing, taken nothing in. 0: it is not asked. */
double perigee_redis_silence(const perigee_redis *redis);
const char *perigee_redis_verify(const perigee_redis *redis);
/* ffi: end */

#endif
