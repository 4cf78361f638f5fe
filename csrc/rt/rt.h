/* SPDX-License-Identifier: MIT
 *
 * rt.h: the C runtime of Perigee (libev, processes, clients, signals), and where to go from here.
 *
 *   ticket.h       who waits: numbers with a generation, deadlines, the ring of those to wake
 *   timers.h       the heap of deadlines under it
 *   loop.h         a private libev loop: waits for the world, one turn at a time
 *   exec.h         processes watched by pidfd
 *   redis.h        connections to Redis servers
 *   http_client.h  requests to HTTP servers
 *   http_server.h  HTTP servers
 *   signals.h      SIGINT and SIGTERM as wake-ups
 *
 * Nothing here calls Lua. What happened is kept as a ready ticket; Lua pulls the ready tickets
 * once per turn, in chunks, and resumes who parked on them (the completion queue of io_uring).
 * One set of these objects belongs to one Lua state; signals.h is for one loop per process.
 */
#ifndef PERIGEE_RT_H
#define PERIGEE_RT_H

#include "base/base.h"

/* ffi: begin */
enum { PERIGEE_RT_ABI = 5 }; /* changes whenever a declaration in an ffi block changes */

/* perigee_rt_abi: the PERIGEE_RT_ABI this library was built with. */
int32_t perigee_rt_abi(void);

/* perigee_rt_fail_at: makes the n-th allocation of the runtime from now fail, once (tests). Returns
 * what was left of the last order; 0: it has been carried out, or there was none. */
uint32_t perigee_rt_fail_at(uint32_t n);

/* perigee_rt_strerror: the text of an errno value; borrowed until the next call. */
const char *perigee_rt_strerror(int32_t code);
/* ffi: end */

#endif
