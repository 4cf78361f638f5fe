/* SPDX-License-Identifier: MIT
 *
 * posix_spawn does not copy the page tables of a large process (glibc: CLONE_VFORK) and reports
 * a program that cannot be started as an error of the call. The pidfd is opened after it: a
 * child that nobody has reaped keeps its pid.
 */
#define _GNU_SOURCE
#include "rt/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

typedef struct pipe_ends {
  int parent, child; /* -1: closed */
} pipe_ends;

static void close_end(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

/* Only the parent's end is non-blocking. */
static int open_pipe(pipe_ends *ends, int child_reads) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC)) return errno;
  ends->child = fds[child_reads ? 0 : 1];
  ends->parent = fds[child_reads ? 1 : 0];
  return fcntl(ends->parent, F_SETFL, O_NONBLOCK) ? errno : 0;
}

static int add_actions(posix_spawn_file_actions_t *actions, const pipe_ends ends[3]) {
  int failed = ends[0].child >= 0
                 ? posix_spawn_file_actions_adddup2(actions, ends[0].child, 0)
                 : posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
  for (int i = 1; i <= 2 && !failed; i++) {
    failed = posix_spawn_file_actions_adddup2(actions, ends[i].child, i);
  }
  return failed ? failed : posix_spawn_file_actions_addclosefrom_np(actions, 3);
}

static int set_attributes(posix_spawnattr_t *attributes) {
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  sigaddset(&defaults, SIGINT);
  sigaddset(&defaults, SIGTERM);
  sigaddset(&defaults, SIGCHLD);
  posix_spawnattr_setpgroup(attributes, 0);
  posix_spawnattr_setsigmask(attributes, &none);
  posix_spawnattr_setsigdefault(attributes, &defaults);
  return posix_spawnattr_setflags(
    attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

static int start(pid_t *pid, const char *const *argv, const pipe_ends ends[3]) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int failed = posix_spawn_file_actions_init(&actions);
  if (failed) return failed;
  failed = posix_spawnattr_init(&attributes);
  if (!failed) {
    failed = add_actions(&actions, ends);
    if (!failed) failed = set_attributes(&attributes);
    if (!failed) {
      failed = posix_spawnp(pid, argv[0], &actions, &attributes, (char *const *)argv, environ);
    }
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_destroy(&actions);
  return failed;
}

/* A child that cannot be watched must not run on. */
static int open_pidfd(perigee_child *child) {
  child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
  if (child->pidfd >= 0) return 0;
  int failed = errno;
  kill(-child->pid, SIGKILL);
  while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {}
  return failed;
}

int perigee_spawn(perigee_child *child, const char *const *argv, int with_input) {
  pipe_ends ends[3] = {{-1, -1}, {-1, -1}, {-1, -1}};
  int failed = with_input ? open_pipe(&ends[0], 1) : 0;
  for (int i = 1; i <= 2 && !failed; i++) failed = open_pipe(&ends[i], 0);
  if (!failed) failed = start(&child->pid, argv, ends);
  if (!failed) failed = open_pidfd(child);
  for (int i = 0; i < 3; i++) close_end(&ends[i].child);
  if (failed) {
    for (int i = 0; i < 3; i++) close_end(&ends[i].parent);
    return failed;
  }
  child->in = ends[0].parent;
  child->out = ends[1].parent;
  child->err = ends[2].parent;
  return 0;
}
