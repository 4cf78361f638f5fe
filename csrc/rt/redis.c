/* SPDX-License-Identifier: MIT
 *
 *   requests   first ......... answered ......... next
 *                  replied, not        sent, no
 *                  yet released        reply yet
 *
 * A ring of requests by number: replies come in order, so the next one is for `answered`. What is
 * released while it waits is marked, and its reply dropped. Commands are collected in a buffer and
 * written when the loop is about to wait.
 *
 * Whether the other side lives is seen by what it does: it sends something, or takes something in
 * when it had been full. That we can write proves nothing: the system takes it for a server that
 * hangs.
 */
#define _GNU_SOURCE
#include "rt/redis.h"

#include "rt/address.h"
#include "rt/inbox.h"
#include "rt/outbox.h"
#include "rt/reply.h"

#include <errno.h>
#include <ev.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  REQUESTS_MAX = 1000000,
  READ_SIZE = 64 * 1024,
  READS_PER_TURN = 16,
};

typedef struct request {
  perigee_reply *reply;
  double ticket;
  int released;
} request;

struct perigee_redis {
  perigee_loop_guest guest; /* first: the loop hands this address back */
  ev_io readable;
  ev_io writable;
  int fd;
  int state;
  int watched;   /* the loop knows that something may come */
  int expecting; /* and that somebody waits for it */
  double awaiting;
  redisReader *reader;

  request *requests;
  uint32_t capacity; /* a power of two */
  uint64_t first, answered, next;

  perigee_outbox outbox;
  double bytes_max;
  uint64_t written;    /* requests before this number have left */
  double silent_since; /* monotonic seconds */
  int listening;
  perigee_inbox inbox;
  char error[160];
};

static request *request_of(const perigee_redis *redis, uint64_t number) {
  return &redis->requests[number & (redis->capacity - 1)];
}

/* Who is told. */

static void fire(perigee_redis *redis, double *ticket) {
  if (*ticket != 0 && redis->guest.loop)
    perigee_tickets_unpark(perigee_loop_tickets(redis->guest.loop), *ticket);
  *ticket = 0;
}

static void update_expectation(perigee_redis *redis) {
  int expecting =
    redis->state != PERIGEE_REDIS_FAILED && (redis->next > redis->answered || redis->awaiting != 0);
  if (redis->guest.loop && expecting != redis->expecting)
    perigee_loop_expect(redis->guest.loop, expecting - redis->expecting);
  redis->expecting = expecting;
}

static void forget_released(perigee_redis *redis) {
  while (redis->first < redis->answered && request_of(redis, redis->first)->released)
    redis->first++;
}

/* The end of a connection. */

static void free_buffers(perigee_redis *redis) {
  perigee_outbox_fini(&redis->outbox);
  if (redis->reader) redisReaderFree(redis->reader);
  redis->reader = NULL;
}

static void stop(perigee_redis *redis) {
  if (redis->guest.loop && redis->fd >= 0) {
    struct ev_loop *ev = perigee_loop_ev(redis->guest.loop);
    ev_io_stop(ev, &redis->readable);
    ev_io_stop(ev, &redis->writable);
    if (redis->watched) perigee_loop_watch(redis->guest.loop, -1);
  }
  redis->watched = 0;
  if (redis->fd >= 0) close(redis->fd);
  redis->fd = -1;
}

static void fail(perigee_redis *redis, const char *why) {
  if (redis->state == PERIGEE_REDIS_FAILED) return;
  snprintf(redis->error, sizeof redis->error, "%s", why);
  redis->state = PERIGEE_REDIS_FAILED;
  stop(redis);
  free_buffers(redis);
  for (uint64_t n = redis->answered; n < redis->next; n++)
    fire(redis, &request_of(redis, n)->ticket);
  fire(redis, &redis->awaiting);
  update_expectation(redis);
}

/* Reading. */

static int is_message(const perigee_redis *redis, const perigee_reply *reply) {
  if (!redis->listening || reply->kind != PERIGEE_REPLY_LIST || reply->length < 3) return 0;
  const perigee_reply *head = reply->elements[0];
  return head && head->kind == PERIGEE_REPLY_TEXT && head->length == 7 &&
         memcmp(head->text, "message", 7) == 0;
}

static void take_reply(perigee_redis *redis, perigee_reply *reply) {
  if (is_message(redis, reply)) {
    if (perigee_inbox_keep(&redis->inbox, reply)) fail(redis, "too many messages are waiting");
    return;
  }
  if (redis->answered == redis->next) {
    int is_error = reply->kind == PERIGEE_REPLY_ERROR;
    fail(redis, is_error ? reply->text : "the server said something that nobody had asked for");
    perigee_reply_free(reply);
    return;
  }
  request *asked = request_of(redis, redis->answered++);
  if (asked->released) {
    perigee_reply_free(reply);
    forget_released(redis);
  } else {
    asked->reply = reply;
    fire(redis, &asked->ticket);
  }
}

static void take_replies(perigee_redis *redis) {
  void *reply = NULL;
  while (redis->state == PERIGEE_REDIS_OPEN) {
    if (redisReaderGetReply(redis->reader, &reply) != REDIS_OK) {
      fail(redis, redis->reader->errstr);
      return;
    }
    if (!reply) return;
    take_reply(redis, reply);
  }
}

static void read_in(perigee_redis *redis) {
  char bytes[READ_SIZE];
  for (int i = 0; i < READS_PER_TURN && redis->state == PERIGEE_REDIS_OPEN; i++) {
    ssize_t n = recv(redis->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (n <= 0) {
      fail(redis, n == 0 ? "the server closed the connection" : strerror(errno));
      return;
    }
    redis->silent_since = perigee_loop_now();
    redisReaderFeed(redis->reader, bytes, (size_t)n);
    take_replies(redis);
    if ((size_t)n < sizeof bytes) break;
  }
  update_expectation(redis);
}

static void on_readable(struct ev_loop *ev, ev_io *io, int events) {
  (void)ev;
  (void)events;
  read_in(io->data);
}

/* Writing. */

static void write_out(perigee_redis *redis) {
  perigee_outbox *outbox = &redis->outbox;
  while (perigee_outbox_waiting(outbox)) {
    ssize_t n = send(redis->fd, outbox->bytes + outbox->at, perigee_outbox_waiting(outbox),
                     MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      ev_io_start(perigee_loop_ev(redis->guest.loop), &redis->writable);
      return;
    }
    if (n < 0) { /* what the other side said before it went may tell more */
      int error = errno;
      read_in(redis);
      fail(redis, strerror(error));
      return;
    }
    perigee_outbox_leave(outbox, (uint32_t)n);
    if (redis->written <= redis->answered) redis->silent_since = perigee_loop_now();
  }
  redis->written = redis->next;
}

static void before_wait(perigee_loop_guest *guest) {
  perigee_redis *redis = (perigee_redis *)guest;
  if (redis->state == PERIGEE_REDIS_OPEN && !ev_is_active(&redis->writable)) write_out(redis);
}

/* Connecting. */

static void connected(perigee_redis *redis) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(redis->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
  if (error) {
    fail(redis, strerror(error));
    return;
  }
  redis->state = PERIGEE_REDIS_OPEN;
  ev_io_start(perigee_loop_ev(redis->guest.loop), &redis->readable);
  fire(redis, &redis->awaiting);
  update_expectation(redis);
}

static void on_writable(struct ev_loop *ev, ev_io *io, int events) {
  (void)events;
  perigee_redis *redis = io->data;
  ev_io_stop(ev, io);
  redis->silent_since = perigee_loop_now();
  if (redis->state == PERIGEE_REDIS_CONNECTING) connected(redis);
  if (redis->state == PERIGEE_REDIS_OPEN) write_out(redis);
}

static void begin_connecting(perigee_redis *redis, const char *address, int port) {
  redis->fd = perigee_address_connect(address, port);
  if (redis->fd < 0) {
    fail(redis, strerror(-redis->fd));
    return;
  }
  ev_io_set(&redis->readable, redis->fd, EV_READ);
  ev_io_set(&redis->writable, redis->fd, EV_WRITE);
  ev_io_start(perigee_loop_ev(redis->guest.loop), &redis->writable);
  perigee_loop_watch(redis->guest.loop, 1);
  redis->watched = 1;
}

/* The loop goes first. */
static void on_loop_closed(perigee_loop_guest *guest) {
  perigee_redis *redis = (perigee_redis *)guest;
  stop(redis);
  perigee_loop_remove(guest);
  fail(redis, "the loop is closed");
}

static const perigee_loop_guest_kind kind = {.before_wait = before_wait, .closed = on_loop_closed};

PERIGEE_API perigee_redis *perigee_redis_connect(perigee_loop *loop, const char *address,
                                                 int32_t port, double bytes_max) {
  perigee_redis *redis = perigee_zalloc(sizeof *redis);
  if (!redis) return NULL;
  redis->fd = -1;
  redis->capacity = 64;
  redis->bytes_max = bytes_max;
  redis->first = redis->answered = redis->next = redis->written = 1;
  redis->requests = perigee_zalloc(redis->capacity * sizeof *redis->requests);
  redis->reader = perigee_reply_reader();
  ev_init(&redis->readable, on_readable);
  ev_init(&redis->writable, on_writable);
  redis->readable.data = redis->writable.data = redis;
  if (!redis->requests || !redis->reader) {
    perigee_redis_free(redis);
    return NULL;
  }
  perigee_loop_add(loop, &redis->guest, &kind);
  begin_connecting(redis, address, port);
  return redis;
}

PERIGEE_API void perigee_redis_close(perigee_redis *redis, const char *why) {
  fail(redis, why);
}

PERIGEE_API void perigee_redis_free(perigee_redis *redis) {
  if (!redis) return;
  fail(redis, "closed");
  perigee_loop_remove(&redis->guest);
  for (uint64_t n = redis->first; n < redis->answered; n++)
    if (!request_of(redis, n)->released) perigee_reply_free(request_of(redis, n)->reply);
  perigee_inbox_fini(&redis->inbox);
  perigee_dealloc(redis->requests);
  perigee_dealloc(redis);
}

PERIGEE_API int32_t perigee_redis_state(const perigee_redis *redis) {
  return redis->state;
}

PERIGEE_API const char *perigee_redis_error(const perigee_redis *redis) {
  return redis->error;
}

PERIGEE_API void perigee_redis_await(perigee_redis *redis, double ticket) {
  redis->awaiting = ticket;
  if (redis->state != PERIGEE_REDIS_CONNECTING) fire(redis, &redis->awaiting);
  update_expectation(redis);
}

/* Commands. */

PERIGEE_API void perigee_redis_begin(perigee_redis *redis, int32_t arguments) {
  int is_refused = redis->state == PERIGEE_REDIS_FAILED ||
                   perigee_outbox_waiting(&redis->outbox) > redis->bytes_max ||
                   redis->next - redis->first >= REQUESTS_MAX;
  perigee_outbox_begin(&redis->outbox, (uint32_t)arguments, is_refused);
}

PERIGEE_API void perigee_redis_argument(perigee_redis *redis, const char *bytes, uint32_t length) {
  perigee_outbox_argument(&redis->outbox, bytes, length);
}

PERIGEE_API void perigee_redis_joined(perigee_redis *redis, const char *head, uint32_t head_length,
                                      const char *rest, uint32_t rest_length) {
  perigee_outbox_joined(&redis->outbox, head, head_length, rest, rest_length);
}

static int make_request(perigee_redis *redis) {
  if (redis->next - redis->first < redis->capacity) return 0;
  uint32_t capacity = redis->capacity * 2;
  request *grown = perigee_zalloc(capacity * sizeof *grown);
  if (!grown) return -1;
  for (uint64_t n = redis->first; n < redis->next; n++)
    grown[n & (capacity - 1)] = *request_of(redis, n);
  perigee_dealloc(redis->requests);
  redis->requests = grown;
  redis->capacity = capacity;
  return 0;
}

PERIGEE_API double perigee_redis_submit(perigee_redis *redis, double ticket) {
  if (perigee_outbox_end(&redis->outbox)) return 0;
  if (make_request(redis)) {
    perigee_outbox_take_back(&redis->outbox);
    return 0;
  }
  uint64_t number = redis->next++;
  *request_of(redis, number) = (request){.ticket = ticket};
  update_expectation(redis);
  return (double)number;
}

/* Replies. */

PERIGEE_API int32_t perigee_redis_check(const perigee_redis *redis, double number) {
  uint64_t n = (uint64_t)number;
  if (n < redis->first || n >= redis->next || request_of(redis, n)->released)
    return PERIGEE_REQUEST_FAILED;
  if (n < redis->answered) return PERIGEE_REQUEST_ANSWERED;
  return redis->state == PERIGEE_REDIS_FAILED ? PERIGEE_REQUEST_FAILED : PERIGEE_REQUEST_WAITING;
}

PERIGEE_API void perigee_redis_retarget(perigee_redis *redis, double number, double ticket) {
  if (perigee_redis_check(redis, number) == PERIGEE_REQUEST_WAITING)
    request_of(redis, (uint64_t)number)->ticket = ticket;
  else
    fire(redis, &ticket);
}

PERIGEE_API const perigee_reply *perigee_redis_reply(const perigee_redis *redis, double number) {
  if (perigee_redis_check(redis, number) != PERIGEE_REQUEST_ANSWERED) return NULL;
  return request_of(redis, (uint64_t)number)->reply;
}

PERIGEE_API void perigee_redis_release(perigee_redis *redis, double number) {
  uint64_t n = (uint64_t)number;
  if (n < redis->first || n >= redis->next || request_of(redis, n)->released) return;
  request *released = request_of(redis, n);
  perigee_reply_free(released->reply);
  *released = (request){.released = 1};
  forget_released(redis);
}

PERIGEE_API void perigee_redis_listen(perigee_redis *redis) {
  redis->listening = 1;
}

PERIGEE_API const perigee_reply *perigee_redis_message(perigee_redis *redis) {
  return perigee_inbox_take(&redis->inbox);
}

PERIGEE_API void perigee_redis_write(perigee_redis *redis) {
  before_wait(&redis->guest);
}

PERIGEE_API void perigee_redis_flush(perigee_redis *redis) {
  if (redis->state != PERIGEE_REDIS_OPEN) return;
  before_wait(&redis->guest);
  read_in(redis);
}

PERIGEE_API double perigee_redis_waiting(const perigee_redis *redis) {
  return (double)(redis->next - redis->answered);
}

PERIGEE_API double perigee_redis_silence(const perigee_redis *redis) {
  int is_asked = redis->answered < redis->written || ev_is_active(&redis->writable);
  return is_asked && redis->state == PERIGEE_REDIS_OPEN ? perigee_loop_now() - redis->silent_since
                                                        : 0;
}

PERIGEE_API const char *perigee_redis_verify(const perigee_redis *redis) {
  PERIGEE_VERIFY(redis->first <= redis->answered && redis->answered <= redis->next);
  PERIGEE_VERIFY(redis->written <= redis->next);
  PERIGEE_VERIFY(redis->next - redis->first <= redis->capacity);
  for (uint64_t n = redis->first; n < redis->answered; n++)
    PERIGEE_VERIFY(request_of(redis, n)->released || request_of(redis, n)->reply);
  const char *broken = perigee_inbox_verify(&redis->inbox);
  return broken ? broken : perigee_outbox_verify(&redis->outbox);
}
