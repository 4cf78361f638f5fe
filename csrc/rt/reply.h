/* SPDX-License-Identifier: MIT
 *
 * reply.h: replies as trees of `perigee_reply`, built by hiredis' reader. Private to the runtime.
 */
#ifndef PERIGEE_REPLY_H
#define PERIGEE_REPLY_H

#include "rt/redis.h"

struct redisReader;

/* perigee_reply_reader: a reader whose replies are trees; NULL: memory is out. Each tree is the
 * caller's. */
struct redisReader *perigee_reply_reader(void);
void perigee_reply_free(perigee_reply *reply); /* takes NULL */

#endif
