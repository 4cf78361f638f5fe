/* SPDX-License-Identifier: MIT
 *
 * exec.h: processes. Each runs in a process group of its own, is fed and drained without
 * blocking, and is watched by a pidfd, so that only our own children are reaped and nobody
 * else's wait (io.popen, os.execute) is disturbed.
 *
 * A process has *ended* when it was reaped and its output pipes are at their end, or when they
 * were drained for a bounded time after it (a grandchild may hold them for ever). Ids carry a
 * generation; a stale id is a failed look-up. What Lua forgets to free is ended with its loop.
 */
#ifndef PERIGEE_EXEC_H
#define PERIGEE_EXEC_H

#include "base/base.h"
#include "rt/loop.h"

/* ffi: begin */
typedef struct perigee_exec_result {
  const char *out, *err; /* what it wrote; borrowed until exec_free */
  double out_bytes, err_bytes;
  int32_t status;   /* exit code; -1 when a signal ended it or nobody can tell */
  int32_t signal;   /* the signal that ended it, or 0 */
  int32_t overflow; /* 1: it wrote more than max_output and was killed */
} perigee_exec_result;

/* perigee_exec_start: runs argv[0] (looked for along PATH) with the arguments `argv`, NULL at
 * the end. `input` (NULL: nothing) is copied and fed to its standard input. More than
 * `max_output` bytes on one of its outputs kill it. Returns its id (> 0), or -errno. */
double perigee_exec_start(perigee_loop *loop, const char *const *argv, const char *input,
                          double input_bytes, double max_output);

/* perigee_exec_await: `ticket` is fired when the process has ended; only the last ticket is
 * remembered. Returns 1 if it has ended already (nothing is fired), else 0; -1: stale id. */
int32_t perigee_exec_await(perigee_loop *loop, double id, double ticket);

/* perigee_exec_stop: sends `signal` to its whole group; once one was sent, whatever is left of
 * the group when the process exits is killed. 0, or -1: stale id, or it has exited. */
int32_t perigee_exec_stop(perigee_loop *loop, double id, int32_t signal);

/* perigee_exec_result_of: what became of it. 0, or -1: stale id, or it has not ended. */
int32_t perigee_exec_result_of(perigee_loop *loop, double id, perigee_exec_result *result);

/* perigee_exec_free: forgets it; if it still runs, its group is killed and it is reaped when
 * it has gone. */
void perigee_exec_free(perigee_loop *loop, double id);

/* perigee_exec_running: how many processes have not been reaped. */
uint32_t perigee_exec_running(perigee_loop *loop);
/* ffi: end */

#endif
