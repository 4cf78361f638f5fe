/* SPDX-License-Identifier: MIT
 *
 * What is remembered of a call and its result: its unit and the tails, its key, its tool, whether
 * the two were ever seen together.
 */
#include "core/guard_state.h"

#include <math.h>

enum { RING = PERIGEE_GUARD_RING };

typedef perigee_guard_key key_state;
typedef perigee_guard_tool tool_state;

static uint64_t mark_of(uint64_t call, uint64_t result) {
  return perigee_guard_mix(call ^ perigee_guard_mix(result));
}

/* Recording. */

/* The last unit can only be equal to those that the call was in. */
static void update_tails(perigee_guard *guard, uint32_t periods) {
  const perigee_guard_unit *unit = &guard->ring[guard->units % RING];
  memset(guard->tails, 0, sizeof guard->tails);
  for (; periods; periods &= periods - 1) {
    uint32_t p = (uint32_t)__builtin_ctz(periods);
    const perigee_guard_unit *earlier = &guard->ring[(guard->units - p) % RING];
    if (unit->calls == earlier->calls &&
        (guard->limits.by_calls || unit->results == earlier->results))
      guard->tails[p] = guard->before[p] + 1;
  }
}

/* Puts a call into its unit, unless it is there. */
static void enter_unit(perigee_guard *guard, const perigee_guard_call *call, key_state *key,
                       uint64_t result) {
  if (!perigee_guard_joins(guard, call)) {
    memcpy(guard->before, guard->tails, sizeof guard->before);
    guard->units++;
    guard->ring[guard->units % RING] = (perigee_guard_unit){0};
    guard->round = call->round;
  }
  if (key->last_unit == guard->units) return;
  perigee_guard_unit *unit = &guard->ring[guard->units % RING];
  unit->calls += perigee_guard_mix(call->call);
  unit->results += mark_of(call->call, result);
  update_tails(guard, perigee_guard_periods(key, guard->units));
  uint32_t ago = guard->units - key->last_unit;
  key->units = ago < 32 ? key->units << ago | 1 : 1;
  key->last_unit = guard->units;
}

static void *known(perigee_recent *table, uint64_t name) {
  void *item = perigee_recent_find(table, name);
  if (!item) return perigee_recent_add(table, name);
  perigee_recent_touch(table, item);
  return item;
}

/* What one more answer to a call means. Returns 1 if it is another than the last one. */
static int update_key(perigee_guard *guard, key_state *key, uint64_t result, int executed,
                      int is_duplicate) {
  int is_known = key->last != 0, changed = is_known && key->result != result;
  if (!is_known || changed) {
    key->result = result;
    key->streak = 1;
    key->fresh = executed ? 1 : 0;
    key->hits = !executed;
    key->first = guard->calls;
  } else if (!is_duplicate) {
    if (key->streak < UINT16_MAX) key->streak++;
    if (executed && key->fresh < 127) key->fresh++;
    if (executed)
      key->hits = 0;
    else if (key->hits < UINT8_MAX)
      key->hits++;
  }
  if (key->counted_from != guard->counted_from) {
    key->counted_from = guard->counted_from;
    key->total = 0;
  }
  key->total++;
  return changed;
}

static void update_tool(perigee_guard *guard, const perigee_guard_call *call, uint64_t result,
                        int flags) {
  tool_state *tool = known(&guard->tools, call->tool);
  if (!tool || flags & PERIGEE_GUARD_WAS_CACHED) return;
  int failed = flags & PERIGEE_GUARD_IS_ERROR, transient = flags & PERIGEE_GUARD_IS_TRANSIENT;
  if (tool->run == 0 || tool->result != result) {
    tool->run = 1;
    tool->run_first = guard->calls;
  } else if (tool->call != call->call && tool->run < UINT16_MAX) {
    tool->run++;
  }
  if (!failed || transient) {
    tool->errors = 0;
  } else if (tool->errors == 0 || tool->error != result) {
    tool->errors = 1;
    tool->error = result;
    tool->error_first = guard->calls;
  } else if (tool->errors < UINT16_MAX) {
    tool->errors++;
  }
  tool->result = result;
  tool->call = call->call;
  tool->failed = failed != 0;
}

static void update_novelty(perigee_guard *guard, const perigee_guard_call *call, int is_novel,
                           int changed, int is_quiet, int failed) {
  if (changed) guard->change_at = guard->calls;
  if (is_novel && !failed) {
    guard->stall = guard->vetoes = 0;
    guard->progress_at = guard->calls;
    if (call->kind == PERIGEE_GUARD_WRITE || call->kind == PERIGEE_GUARD_EXEC)
      guard->write_at = guard->calls;
  } else if (changed && !is_novel) {
    guard->stall /= 2;
  } else if (!is_novel && !is_quiet) {
    guard->stall++;
  }
}

static void note(perigee_guard *guard, const perigee_guard_call *call, uint64_t result, int flags,
                 int refused) {
  key_state *key = known(&guard->keys, call->call);
  if (!key) return; /* no memory for the first ones: nothing is guarded */
  int polling = perigee_guard_polls(guard, call, key->last ? key : NULL);
  int is_duplicate = perigee_guard_joins(guard, call) && key->last_unit == guard->units;
  int executed = !refused && !(flags & PERIGEE_GUARD_WAS_CACHED);
  guard->calls++;
  if (refused) {
    result = key->result;
    guard->vetoes++;
    guard->stall++;
    key->vetoed = guard->calls;
  }
  int changed = update_key(guard, key, result, executed, is_duplicate);
  if (!refused) {
    uint32_t mark = (uint32_t)(mark_of(call->call, result) >> 32);
    int is_novel = perigee_novelty_add(&guard->seen, mark);
    update_novelty(guard, call, is_novel, changed, is_duplicate || polling,
                   flags & PERIGEE_GUARD_IS_ERROR);
    update_tool(guard, call, result, flags);
    key->transient = (flags & PERIGEE_GUARD_IS_TRANSIENT) != 0;
  }
  enter_unit(guard, call, key, result);
  key->last = guard->calls;
  key->last_t = call->now;
}

static uint64_t fingerprint(const char *bytes, double length, int32_t type) {
  return perigee_hash_bytes(bytes, (size_t)length, PERIGEE_GUARD_SEED + (uint64_t)type);
}

PERIGEE_API void perigee_guard_name(perigee_guard_call *call, const char *tool,
                                    uint32_t tool_length, const char *arguments, double length,
                                    int32_t type) {
  call->tool = fingerprint(tool, tool_length, 0);
  call->call = perigee_guard_mix(call->tool) ^ fingerprint(arguments, length, type);
}

PERIGEE_API double perigee_guard_print(const char *result, double length, int32_t type) {
  return (double)(fingerprint(result, length, type) >> 11);
}

PERIGEE_API void perigee_guard_record(perigee_guard *guard, const perigee_guard_call *call,
                                      double result, int32_t flags) {
  note(guard, call, (uint64_t)result, flags, 0);
}

PERIGEE_API void perigee_guard_refuse(perigee_guard *guard, const perigee_guard_call *call) {
  note(guard, call, 0, 0, 1);
}

PERIGEE_API void perigee_guard_progress(perigee_guard *guard) {
  guard->counted_from = guard->calls;
}

/* Life. */

PERIGEE_API void perigee_guard_default_limits(perigee_guard_limits *limits) {
  *limits = (perigee_guard_limits){.warn = 3,
                                   .block = 5,
                                   .stop = 8,
                                   .recur_warn = 4,
                                   .recur_block = 8,
                                   .stag_warn = 6,
                                   .stag_block = 10,
                                   .err_warn = 4,
                                   .err_block = 6,
                                   .stall_warn = 16,
                                   .stall_block = 28,
                                   .poll_gap = 10,
                                   .poll_block = 60,
                                   .refresh_at = 3,
                                   .veto_stop = 4,
                                   .soft_calls = 100,
                                   .max_calls = 1000,
                                   .repeats = HUGE_VAL,
                                   .depth = HUGE_VAL};
}

void perigee_guard_init(perigee_guard *guard, const perigee_guard_limits *limits) {
  memset(guard, 0, sizeof *guard);
  guard->limits = *limits;
  perigee_recent_init(&guard->keys, sizeof(key_state), PERIGEE_GUARD_KEYS);
  perigee_recent_init(&guard->tools, sizeof(tool_state), PERIGEE_GUARD_TOOLS);
}

PERIGEE_API perigee_guard *perigee_guard_new(const perigee_guard_limits *limits) {
  perigee_guard *guard = perigee_zalloc(sizeof *guard);
  if (guard) perigee_guard_init(guard, limits);
  return guard;
}

static void fini(perigee_guard *guard) {
  perigee_recent_fini(&guard->keys);
  perigee_recent_fini(&guard->tools);
  perigee_novelty_fini(&guard->seen);
}

PERIGEE_API void perigee_guard_free(perigee_guard *guard) {
  if (!guard) return;
  fini(guard);
  perigee_dealloc(guard);
}

PERIGEE_API void perigee_guard_reset(perigee_guard *guard) {
  perigee_guard_limits limits = guard->limits;
  fini(guard);
  perigee_guard_init(guard, &limits);
}

PERIGEE_API double perigee_guard_calls(const perigee_guard *guard) {
  return guard->calls;
}

PERIGEE_API double perigee_guard_stall(const perigee_guard *guard) {
  return guard->stall;
}

PERIGEE_API double perigee_guard_vetoes(const perigee_guard *guard) {
  return guard->vetoes;
}

PERIGEE_API double perigee_guard_streak(const perigee_guard *guard,
                                        const perigee_guard_call *call) {
  const key_state *key = perigee_recent_find(&guard->keys, call->call);
  return key ? key->streak : 0;
}

PERIGEE_API double perigee_guard_bytes(const perigee_guard *guard) {
  return (double)(sizeof *guard + perigee_recent_bytes(&guard->keys) +
                  perigee_recent_bytes(&guard->tools) + perigee_novelty_bytes(&guard->seen));
}
