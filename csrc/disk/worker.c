/* SPDX-License-Identifier: MIT
 *
 *   submit ──► first ── job ── job ── last        done, or failed
 *                │                                      ▲
 *                └────────► the thread ─────────────────┘
 *
 * One mutex guards the queue and the states of all jobs.
 */
#define _GNU_SOURCE
#include "disk/worker.h"

#include "disk/database.h"

#include <pthread.h>
#include <signal.h>

static struct {
  pthread_mutex_t mutex;
  pthread_cond_t submitted; /* waited for by the thread */
  pthread_cond_t ended;     /* waited for by the others */
  pthread_t thread;
  perigee_disk_job *first;
  perigee_disk_job *last;
  perigee_disk_job *current; /* what the thread is doing */
  uint32_t disks;
  uint32_t generation;
  int running;
  int stopping;
  int forks_watched;
} worker = {.mutex = PTHREAD_MUTEX_INITIALIZER,
            .submitted = PTHREAD_COND_INITIALIZER,
            .ended = PTHREAD_COND_INITIALIZER};

static void before_fork(void) {
  pthread_mutex_lock(&worker.mutex);
}

static void after_fork_in_parent(void) {
  pthread_mutex_unlock(&worker.mutex);
}

/* The child has this one thread. What waited is the parent's to do; here it has failed. */
static void after_fork_in_child(void) {
  pthread_mutex_init(&worker.mutex, NULL);
  pthread_cond_init(&worker.submitted, NULL);
  pthread_cond_init(&worker.ended, NULL);
  if (worker.current) worker.current->state = PERIGEE_DISK_FAILED;
  for (perigee_disk_job *job = worker.first; job; job = job->next) job->state = PERIGEE_DISK_FAILED;
  worker.first = worker.last = worker.current = NULL;
  worker.running = worker.stopping = 0;
  worker.generation++;
}

static perigee_disk_job *take_job(void) {
  pthread_mutex_lock(&worker.mutex);
  while (!worker.first && !worker.stopping) pthread_cond_wait(&worker.submitted, &worker.mutex);
  perigee_disk_job *job = worker.first;
  if (job) {
    worker.first = job->next;
    if (!worker.first) worker.last = NULL;
    worker.current = job;
  }
  pthread_mutex_unlock(&worker.mutex);
  return job;
}

static void end_job(perigee_disk_job *job, int failed) {
  pthread_mutex_lock(&worker.mutex);
  job->state = failed ? PERIGEE_DISK_FAILED : PERIGEE_DISK_DONE;
  int abandoned = job->abandoned;
  worker.current = NULL;
  pthread_cond_broadcast(&worker.ended);
  pthread_mutex_unlock(&worker.mutex);
  if (abandoned) perigee_job_destroy(job);
}

static void *work(void *unused) {
  perigee_disk_job *job;
  while ((job = take_job())) end_job(job, perigee_database_do(job));
  return unused;
}

/* The thread handles no signal: they are for the program's own threads. */
static int start_thread(void) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = pthread_create(&worker.thread, NULL, work, NULL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  worker.running = !failed;
  return failed ? -1 : 0;
}

int perigee_worker_submit(perigee_disk_job *job) {
  pthread_mutex_lock(&worker.mutex);
  int failed = worker.running ? 0 : start_thread();
  if (!failed) {
    job->state = PERIGEE_DISK_WAITING;
    job->generation = worker.generation;
    job->next = NULL;
    if (worker.last)
      worker.last->next = job;
    else
      worker.first = job;
    worker.last = job;
    pthread_cond_signal(&worker.submitted);
  }
  pthread_mutex_unlock(&worker.mutex);
  return failed;
}

static int is_busy_with(const perigee_disk *disk) {
  if (worker.current && worker.current->disk == disk) return 1;
  for (perigee_disk_job *job = worker.first; job; job = job->next)
    if (job->disk == disk) return 1;
  return 0;
}

void perigee_worker_finish(perigee_disk *disk) {
  pthread_mutex_lock(&worker.mutex);
  while (is_busy_with(disk)) pthread_cond_wait(&worker.ended, &worker.mutex);
  pthread_mutex_unlock(&worker.mutex);
}

void perigee_worker_enter(void) {
  if (!worker.forks_watched) {
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    worker.forks_watched = 1;
  }
  worker.disks++;
}

void perigee_worker_leave(void) {
  if (--worker.disks > 0 || !worker.running) return;
  pthread_mutex_lock(&worker.mutex);
  worker.stopping = 1;
  pthread_cond_signal(&worker.submitted);
  pthread_mutex_unlock(&worker.mutex);
  pthread_join(worker.thread, NULL);
  worker.running = worker.stopping = 0;
}

uint32_t perigee_worker_generation(void) {
  return worker.generation;
}

PERIGEE_API int32_t perigee_disk_state(perigee_disk_job *job) {
  pthread_mutex_lock(&worker.mutex);
  int state = job->state;
  pthread_mutex_unlock(&worker.mutex);
  return state;
}

PERIGEE_API int32_t perigee_disk_wait(perigee_disk_job *job) {
  pthread_mutex_lock(&worker.mutex);
  while (job->state == PERIGEE_DISK_WAITING) pthread_cond_wait(&worker.ended, &worker.mutex);
  int state = job->state;
  pthread_mutex_unlock(&worker.mutex);
  return state;
}

PERIGEE_API void perigee_disk_job_free(perigee_disk_job *job) {
  if (!job) return;
  pthread_mutex_lock(&worker.mutex);
  int waits = job->state == PERIGEE_DISK_WAITING;
  job->abandoned = waits;
  pthread_mutex_unlock(&worker.mutex);
  if (!waits) perigee_job_destroy(job);
}
