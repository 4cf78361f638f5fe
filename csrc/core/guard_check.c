/* SPDX-License-Identifier: MIT
 *
 * The rules: what to do with a call, by what is remembered. Nothing changes here.
 */
#include "core/guard_state.h"

#include <math.h>

enum { RING = PERIGEE_GUARD_RING };

typedef perigee_guard_key key_state;
typedef perigee_guard_tool tool_state;

static uint64_t mix(uint64_t word) {
  return perigee_guard_mix(word);
}

/* What is known of a call before it runs. */
typedef struct context {
  const perigee_guard *guard;
  const perigee_guard_call *call;
  const key_state *key;   /* or NULL */
  const tool_state *tool; /* or NULL */
  const uint32_t *tails;  /* without the unit that it would be in */
  uint32_t unit;          /* the number of that unit */
  uint32_t streak;        /* with this call */
  int is_duplicate;       /* it is in the unit already */
  int is_polling;
} context;

static context context_of(const perigee_guard *guard, const perigee_guard_call *call) {
  context at = {.guard = guard, .call = call};
  int joining = perigee_guard_joins(guard, call);
  at.key = perigee_recent_find(&guard->keys, call->call);
  at.tool = perigee_recent_find(&guard->tools, call->tool);
  at.tails = joining ? guard->before : guard->tails;
  at.unit = joining ? guard->units : guard->units + 1;
  at.is_duplicate = at.key && at.key->last_unit == at.unit;
  at.streak = at.key ? at.key->streak + !at.is_duplicate : 1;
  at.is_polling = perigee_guard_polls(guard, call, at.key);
  return at;
}

/* Verdicts. */

static void find(perigee_guard_verdict *verdict, int action, int kind, double count, uint64_t loop,
                 uint32_t since) {
  if (action <= verdict->action) return;
  verdict->action = action;
  verdict->kind = kind;
  verdict->period = 0;
  verdict->count = (uint32_t)count;
  loop ^= (uint64_t)kind;
  verdict->loop_high = (uint32_t)(loop >> 32);
  verdict->loop_low = (uint32_t)loop;
  verdict->since = since;
}

/* The milder limit first; `factor` weakens both. */
static void compare(perigee_guard_verdict *verdict, int kind, double count, double warn,
                    double block, double factor, uint64_t loop, uint32_t since) {
  if (count > block * factor) find(verdict, PERIGEE_GUARD_BLOCK, kind, count, loop, since);
  if (count > warn * factor) find(verdict, PERIGEE_GUARD_WARN, kind, count, loop, since);
}

/* Cycles. */

static uint64_t loop_of(const context *at, uint32_t p) {
  uint64_t loop = 0;
  for (uint32_t i = 1; i <= p; i++) loop ^= mix(at->guard->ring[(at->unit - i) % RING].calls);
  return loop;
}

/* The smallest period that the call continues; 0: none. */
static uint32_t period_of(const context *at) {
  uint32_t by_calls = at->guard->limits.by_calls != 0;
  uint32_t periods = at->key ? perigee_guard_periods(at->key, at->unit) : 0;
  if (periods & 2 && by_calls) return 0; /* a repeat, which has a limit of its own */
  for (; periods; periods &= periods - 1) {
    uint32_t p = (uint32_t)__builtin_ctz(periods);
    if (at->tails[p] + by_calls >= p) return p;
  }
  return 0;
}

/* Answers that change in turn to one call are weaker evidence than other calls in between. */
static int cycle_action(const context *at, uint32_t p, uint32_t count) {
  const perigee_guard_limits *limits = &at->guard->limits;
  int is_one_call = p > 1 && perigee_guard_periods(at->key, at->unit) & 2;
  double factor = (at->key->transient ? 2 : 1) * (is_one_call ? 2 : 1);
  if (limits->by_calls) return PERIGEE_GUARD_BLOCK;
  if (count >= limits->stop * factor) return PERIGEE_GUARD_STOP;
  if (count >= (p == 1 ? limits->block : limits->block - 1) * factor) return PERIGEE_GUARD_BLOCK;
  return count >= limits->warn * factor ? PERIGEE_GUARD_WARN : PERIGEE_GUARD_OK;
}

static void look_for_cycle(const context *at, perigee_guard_verdict *verdict) {
  uint32_t p = period_of(at);
  if (p == 0) return;
  uint32_t count = at->tails[p] / p + 2;
  int action = cycle_action(at, p, count), kind = PERIGEE_GUARD_CYCLE;
  if (at->is_polling) {
    kind = PERIGEE_GUARD_POLL;
    action = count > at->guard->limits.poll_block ? PERIGEE_GUARD_BLOCK : PERIGEE_GUARD_OK;
  }
  find(verdict, action, kind, count, loop_of(at, p), at->key->first);
  if (verdict->kind == kind) verdict->period = p;
}

/* The other rules. */

static void look_for_recurrence(const context *at, perigee_guard_verdict *verdict) {
  const perigee_guard *guard = at->guard;
  const perigee_guard_limits *limits = &guard->limits;
  if (!at->key || at->call->cached) return;
  uint64_t loop = mix(at->call->call);
  if (at->is_polling) {
    compare(verdict, PERIGEE_GUARD_POLL, at->streak, HUGE_VAL, limits->poll_block, 1, loop,
            at->key->first);
    return;
  }
  if (guard->change_at > at->key->first) return;
  double factor = (guard->write_at > at->key->first ? 2 : 1) * (at->key->transient ? 2 : 1);
  compare(verdict, PERIGEE_GUARD_RECURRENCE, at->streak, limits->recur_warn, limits->recur_block,
          factor, loop, at->key->first);
}

static void look_at_tool(const context *at, perigee_guard_verdict *verdict) {
  const perigee_guard *guard = at->guard;
  const perigee_guard_limits *limits = &guard->limits;
  const tool_state *tool = at->tool;
  if (!tool || at->is_polling) return;
  uint64_t loop = mix(at->call->tool);
  if (at->call->kind == PERIGEE_GUARD_READ || tool->failed)
    compare(verdict, PERIGEE_GUARD_STAGNANT, tool->run > 1 ? tool->run + 1 : 0, limits->stag_warn,
            limits->stag_block, guard->write_at > tool->run_first ? 2 : 1, loop, tool->run_first);
  compare(verdict, PERIGEE_GUARD_ERROR, tool->errors ? tool->errors + 1 : 0, limits->err_warn,
          limits->err_block, guard->write_at > tool->error_first ? 2 : 1, loop, tool->error_first);
}

/* A call that was never made may bring something new: it is not refused for what others did not. */
static void look_for_stall(const context *at, perigee_guard_verdict *verdict) {
  const perigee_guard *guard = at->guard;
  const perigee_guard_limits *limits = &guard->limits;
  double stall = (double)guard->stall + 1;
  if (at->is_polling) return;
  compare(verdict, PERIGEE_GUARD_STALL, stall, limits->stall_warn,
          at->key ? limits->stall_block : HUGE_VAL, 1, 0, guard->progress_at);
  if (at->key && guard->calls >= limits->soft_calls && stall > limits->stall_warn / 2)
    find(verdict, PERIGEE_GUARD_STOP, PERIGEE_GUARD_STALL, stall, 0, guard->progress_at);
}

static int has_learned_since(const perigee_guard *guard, uint32_t call) {
  return guard->progress_at > call || guard->change_at > call || guard->counted_from >= call;
}

static void be_consistent(const context *at, perigee_guard_verdict *verdict) {
  const perigee_guard *guard = at->guard;
  const key_state *key = at->key;
  if (key && key->vetoed && !has_learned_since(guard, key->vetoed))
    find(verdict, PERIGEE_GUARD_BLOCK, PERIGEE_GUARD_STICKY, at->streak, mix(at->call->call),
         key->first);
  if (verdict->action == PERIGEE_GUARD_BLOCK && guard->vetoes + 1 > guard->limits.veto_stop)
    verdict->action = PERIGEE_GUARD_STOP;
}

/* Answers that the cache gave prove nothing: before a refusal it must have been executed twice. */
static void confirm(const context *at, perigee_guard_verdict *verdict) {
  const perigee_guard_limits *limits = &at->guard->limits;
  uint32_t hits = at->key ? at->key->hits + 1u : 1, fresh = at->key ? at->key->fresh : 0;
  if (!at->call->cached) return;
  int is_due = (limits->refresh_by_hits ? hits : at->streak) >= limits->refresh_at;
  if (verdict->action >= PERIGEE_GUARD_BLOCK ? fresh < 2 : is_due)
    verdict->action = PERIGEE_GUARD_REFRESH;
}

/* Limits that count calls, whatever they brought. */
static void count_calls(const context *at, perigee_guard_verdict *verdict) {
  const perigee_guard *guard = at->guard;
  const perigee_guard_limits *limits = &guard->limits;
  const key_state *key = at->key;
  uint64_t loop = mix(at->call->call);
  double total = key && key->counted_from == guard->counted_from ? key->total + 1.0 : 1;
  double repeats = limits->repeats_strict ? total : fmin(total, at->streak);
  int counts = at->call->kind != PERIGEE_GUARD_POLLS && (limits->repeats_strict || !at->is_polling);
  if (counts && repeats > limits->repeats)
    find(verdict, PERIGEE_GUARD_BLOCK, PERIGEE_GUARD_REPEAT, repeats, loop, key ? key->first : 0);
  double calls = guard->calls + at->call->pending + 1, depth = calls - guard->counted_from;
  if (depth > limits->depth)
    find(verdict, PERIGEE_GUARD_BLOCK, PERIGEE_GUARD_DEPTH, depth, 0, guard->counted_from + 1);
  if (calls > limits->max_calls)
    find(verdict, PERIGEE_GUARD_STOP, PERIGEE_GUARD_BUDGET, calls, 0, 1);
}

PERIGEE_API int32_t perigee_guard_check(const perigee_guard *guard, const perigee_guard_call *call,
                                        perigee_guard_verdict *verdict) {
  context at = context_of(guard, call);
  *verdict = (perigee_guard_verdict){.action = PERIGEE_GUARD_OK};
  look_for_cycle(&at, verdict);
  look_for_recurrence(&at, verdict);
  look_at_tool(&at, verdict);
  look_for_stall(&at, verdict);
  confirm(&at, verdict);
  count_calls(&at, verdict);
  be_consistent(&at, verdict);
  return verdict->action;
}
