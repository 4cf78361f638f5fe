/* SPDX-License-Identifier: MIT
 *
 * spawn.h: starts a process with three pipes, in a group of its own, with nothing else of ours
 * open in it.
 */
#ifndef PERIGEE_SPAWN_H
#define PERIGEE_SPAWN_H

#include <sys/types.h>

typedef struct perigee_child {
  pid_t pid;
  int pidfd;    /* readable when it has exited */
  int in;       /* its standard input; -1: it reads /dev/null */
  int out, err; /* its outputs */
} perigee_child;

/* perigee_spawn: 0 and `*child`, whose descriptors (non-blocking, close-on-exec) the caller
 * owns; or an errno value and nothing is left behind. */
int perigee_spawn(perigee_child *child, const char *const *argv, int with_input);

#endif
