/* SPDX-License-Identifier: MIT
 *
 * signals.h: SIGINT and SIGTERM as wake-ups, for the host.
 *
 * Signals are of the process: one loop listens at a time. The first signal is a request, told
 * through a ticket; after it the default action is back, so that a second one ends a program
 * that does not listen. (libev's signal watchers are not used: they forget the handlers that
 * were there before.)
 */
#ifndef PERIGEE_SIGNALS_H
#define PERIGEE_SIGNALS_H

#include "base/base.h"
#include "rt/loop.h"

/* ffi: begin */
/* perigee_signals_listen: installs the handlers. 0; -1: another loop listens, or they cannot
 * be installed. */
int32_t perigee_signals_listen(perigee_loop *loop);

/* perigee_signals_await: fires `ticket` when a signal has come (at once if one has). Only the
 * last ticket is remembered. */
void perigee_signals_await(perigee_loop *loop, double ticket);

/* perigee_signals_take: the number of the first signal that came, once; 0: none came. */
int32_t perigee_signals_take(void);

/* perigee_signals_restore: puts the handlers back that were there before listen. */
void perigee_signals_restore(perigee_loop *loop);
/* ffi: end */

#endif
