/* SPDX-License-Identifier: MIT
 *
 * worker.h: the one thread that does all jobs of all disks of a process. Private to the disk
 * library.
 *
 * It starts with the first job and is joined when the last disk is freed, so that the library may
 * be unloaded then. A fork leaves the child without it: what had been submitted there is the
 * parent's, and the child starts a thread of its own.
 */
#ifndef PERIGEE_DISK_WORKER_H
#define PERIGEE_DISK_WORKER_H

#include "disk/job.h"

/* perigee_worker_submit: 0, or -1 when no thread can be started. */
int perigee_worker_submit(perigee_disk_job *job);

/* perigee_worker_finish: waits until nothing of this disk is waiting. */
void perigee_worker_finish(perigee_disk *disk);

/* perigee_worker_enter, _leave: a disk more, a disk less. */
void perigee_worker_enter(void);
void perigee_worker_leave(void);

/* perigee_worker_generation: another number in each process that came from a fork. */
uint32_t perigee_worker_generation(void);

#endif
