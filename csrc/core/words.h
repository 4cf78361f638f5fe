/* SPDX-License-Identifier: MIT
 *
 * words.h: versions in memory that the processes of one host share, so that one of them knows at
 * the price of a load whether another has changed something.
 *
 * A *board* is anonymous shared memory: mapped by a parent, it is the same memory at the same
 * address in every child forked afterwards. It has two parts:
 *
 * - *words*: numbers that only grow. Who has published a change bumps the word of what it concerns
 *   (release); who reads another number than last time looks for changes (acquire).
 * - *fences*: one per hash of a key, with a number that moves with each write of such a key, another
 *   that counts fills, and a lock. Who fills a store that all share, from work that began earlier,
 *   takes the lock, compares the number with what it was then, fills, and gives the lock back; who
 *   writes moves the number and writes under the same lock. So no late result overwrites a later
 *   write. A fence also holds a *lease*: which of the processes works for such a key now.
 *
 * A collision costs a needless look, or a fill that is left out; a lease tells it (perigee_board_take).
 * A lock or a lease whose holder has died is taken over; nobody waits longer than LOCK_WAIT_MS for
 * the lock of one who is stopped.
 */
#ifndef PERIGEE_WORDS_H
#define PERIGEE_WORDS_H

#include "base/base.h"

/* ffi: begin */
enum { PERIGEE_WORDS = 256, PERIGEE_FENCES = 16384 };

typedef struct perigee_board perigee_board;

/* perigee_board_own: the board of this process, or of the ancestor that asked first. It is never
 * unmapped. NULL when memory is out. */
perigee_board *perigee_board_own(void);

/* perigee_board_inherited: the board that an ancestor of this process mapped, or NULL. */
perigee_board *perigee_board_inherited(void);

/* perigee_board_address, _magic: what another process finds it by: numbers to pass on. */
double perigee_board_address(const perigee_board *board);
double perigee_board_magic(const perigee_board *board);

/* perigee_board_at: the board at an address, if this process has it there; else NULL. */
perigee_board *perigee_board_at(double address, double magic);

/* perigee_board_word: a word, to be read as it stands; `which` counts modulo PERIGEE_WORDS. */
const volatile uint32_t *perigee_board_word(perigee_board *board, uint32_t which);

/* perigee_board_bump: whatever was written before is seen by who sees the word's new number, which
 * is returned. */
uint32_t perigee_board_bump(perigee_board *board, uint32_t which);

/* perigee_board_hash: a hash of some bytes, the same in all processes: a whole number below 2^46.
 * Modulo PERIGEE_FENCES it is a fence; what is above that tells keys of one fence apart. */
double perigee_board_hash(const char *bytes, uint32_t length, double seed);

/* perigee_board_fence, _fills: the two numbers of a fence; `which` counts modulo PERIGEE_FENCES. */
double perigee_board_fence(perigee_board *board, double which);
double perigee_board_fills(perigee_board *board, double which);

/* perigee_board_lock: 1 when process `self` (its id) has the lock until perigee_board_unlock; 0: it
 * has it already (a finalizer), or the lock did not come free. */
int32_t perigee_board_lock(perigee_board *board, double which, int32_t self);

/* perigee_board_unlock: gives it back; `written`: the number is another one now; `filled`: one fill
 * more is counted. */
void perigee_board_unlock(perigee_board *board, double which, int32_t written, int32_t filled);

/* perigee_board_move: moves the number without the lock, when that did not come free. */
void perigee_board_move(perigee_board *board, double which);

/* perigee_board_take: takes the lease of the key with this hash, for process `self`, until `until_ms`
 * at the latest. `token` (> 0) is the caller's own, `number` that of the fence when its work began:
 * who works with an older one has the lease no more. Returns 0: it is ours; the token of who has it;
 * or -1: leases of this fence are to be had elsewhere now, as two of its keys need one. */
double perigee_board_take(perigee_board *board, double hash, double token, double number,
                          double now_ms, double until_ms, int32_t self);

/* perigee_board_renew: makes a lease of process `self` last; perigee_board_give: gives it back.
 * Nothing happens if it is not ours any more. perigee_board_defer: leases of this fence are to be had
 * elsewhere until then. */
void perigee_board_renew(perigee_board *board, double hash, double token, double until_ms,
                         int32_t self);
void perigee_board_give(perigee_board *board, double hash, double token, int32_t self);
void perigee_board_defer(perigee_board *board, double hash, double until_ms, int32_t self);
/* ffi: end */

#endif
