/* SPDX-License-Identifier: MIT
 *
 * A snapshot is little-endian, without padding:
 *
 *     "PGGD" version:u32  counters  before, tails  ring  keys  tools  marks  checksum:u64
 *
 * Records stand from the oldest to the most recent, each list after its count; links and buckets
 * are not part of it, they are made again. Whoever restores may be given anything: each number is
 * checked before it is used.
 */
#include "base/hash.h"
#include "core/guard_state.h"

#include <math.h>

enum {
  VERSION = 1,
  SEED = 0x9a4d,
  CALLS_MAX = 1 << 30, /* far from where a counter would begin again */
};

#define MAGIC "PGGD"

/* Writing: `at` goes on when there is no more room, so that it tells how much is needed. */

typedef struct sink {
  char *bytes;
  size_t size, at;
} sink;

static void put(sink *to, const void *bytes, size_t length) {
  if (to->at + length <= to->size) memcpy(to->bytes + to->at, bytes, length);
  to->at += length;
}

static void put_u32(sink *to, uint32_t value) {
  put(to, &value, sizeof value);
}

static void put_u64(sink *to, uint64_t value) {
  put(to, &value, sizeof value);
}

static void put_key(sink *to, const perigee_guard_key *key) {
  const uint32_t words[] = {key->units,  key->last_unit, key->first,        key->last,
                            key->vetoed, key->total,     key->counted_from, key->streak,
                            key->fresh,  key->transient, key->hits};
  put_u64(to, key->item.name);
  put_u64(to, key->result);
  put(to, &key->last_t, sizeof key->last_t);
  put(to, words, sizeof words);
}

static void put_tool(sink *to, const perigee_guard_tool *tool) {
  const uint32_t words[] = {tool->run_first, tool->error_first, tool->run, tool->errors,
                            tool->failed};
  put_u64(to, tool->item.name);
  put_u64(to, tool->result);
  put_u64(to, tool->error);
  put_u64(to, tool->call);
  put(to, words, sizeof words);
}

static void put_counters(sink *to, const perigee_guard *guard) {
  const uint32_t words[] = {guard->units,       guard->calls,       guard->stall,
                            guard->vetoes,      guard->change_at,   guard->write_at,
                            guard->progress_at, guard->counted_from};
  put(to, words, sizeof words);
  put(to, &guard->round, sizeof guard->round);
  put(to, guard->before, sizeof guard->before);
  put(to, guard->tails, sizeof guard->tails);
  put(to, guard->ring, sizeof guard->ring);
}

PERIGEE_API uint64_t perigee_guard_seal(const char *bytes, double length) {
  return perigee_hash_bytes(bytes, (size_t)length, SEED);
}

PERIGEE_API double perigee_guard_save(const perigee_guard *guard, char *bytes, double size) {
  sink to = {bytes, (size_t)size, 0};
  put(&to, MAGIC, 4);
  put_u32(&to, VERSION);
  put_counters(&to, guard);
  put_u32(&to, guard->keys.count);
  for (uint32_t i = guard->keys.oldest; i; i = perigee_recent_at(&guard->keys, i)->newer)
    put_key(&to, (const perigee_guard_key *)perigee_recent_at(&guard->keys, i));
  put_u32(&to, guard->tools.count);
  for (uint32_t i = guard->tools.oldest; i; i = perigee_recent_at(&guard->tools, i)->newer)
    put_tool(&to, (const perigee_guard_tool *)perigee_recent_at(&guard->tools, i));
  put_u32(&to, guard->seen.count);
  for (uint32_t i = 0; i < guard->seen.count; i++)
    put_u32(&to, guard->seen.marks[(guard->seen.at + i) % guard->seen.count]);
  if (to.at <= to.size)
    put_u64(&to, perigee_guard_seal(bytes, (double)to.at));
  else
    to.at += sizeof(uint64_t);
  return (double)to.at;
}

/* Reading: what is beyond the end is zero, and makes it fail. */

typedef struct source {
  const char *bytes;
  size_t length, at;
  int failed;
  int no_memory; /* and that is why */
} source;

static void take(source *from, void *into, size_t length) {
  if (from->failed || length > from->length - from->at) {
    from->failed = 1;
    memset(into, 0, length);
    return;
  }
  memcpy(into, from->bytes + from->at, length);
  from->at += length;
}

static uint32_t take_u32(source *from) {
  uint32_t value;
  take(from, &value, sizeof value);
  return value;
}

static uint64_t take_u64(source *from) {
  uint64_t value;
  take(from, &value, sizeof value);
  return value;
}

/* A number of calls or units: none is above what there were. */
static uint32_t take_number(source *from, uint32_t most) {
  uint32_t value = take_u32(from);
  if (value > most) from->failed = 1;
  return from->failed ? 0 : value;
}

static double take_time(source *from) {
  double value;
  take(from, &value, sizeof value);
  if (!isfinite(value)) from->failed = 1;
  return value;
}

static void take_key(source *from, perigee_guard *guard) {
  uint64_t name = take_u64(from);
  if (from->failed || perigee_recent_find(&guard->keys, name)) {
    from->failed = 1;
    return;
  }
  perigee_guard_key *key = perigee_recent_add(&guard->keys, name);
  if (!key) {
    from->failed = from->no_memory = 1;
    return;
  }
  key->result = take_u64(from);
  key->last_t = take_time(from);
  key->units = take_u32(from);
  key->last_unit = take_number(from, guard->units);
  key->first = take_number(from, guard->calls);
  key->last = take_number(from, guard->calls);
  key->vetoed = take_number(from, guard->calls);
  key->total = take_number(from, guard->calls);
  key->counted_from = take_number(from, guard->calls);
  key->streak = (uint16_t)take_number(from, UINT16_MAX);
  key->fresh = take_number(from, 127) & 127;
  key->transient = take_number(from, 1) & 1;
  key->hits = (uint8_t)take_number(from, UINT8_MAX);
}

static void take_tool(source *from, perigee_guard *guard) {
  uint64_t name = take_u64(from);
  if (from->failed || perigee_recent_find(&guard->tools, name)) {
    from->failed = 1;
    return;
  }
  perigee_guard_tool *tool = perigee_recent_add(&guard->tools, name);
  if (!tool) {
    from->failed = from->no_memory = 1;
    return;
  }
  tool->result = take_u64(from);
  tool->error = take_u64(from);
  tool->call = take_u64(from);
  tool->run_first = take_number(from, guard->calls);
  tool->error_first = take_number(from, guard->calls);
  tool->run = (uint16_t)take_number(from, UINT16_MAX);
  tool->errors = (uint16_t)take_number(from, UINT16_MAX);
  tool->failed = take_number(from, 1);
}

static void take_tails(source *from, uint32_t *tails, uint32_t units) {
  for (uint32_t p = 0; p <= PERIGEE_GUARD_PERIODS; p++) tails[p] = take_number(from, units);
}

static void take_counters(source *from, perigee_guard *guard) {
  guard->units = take_number(from, CALLS_MAX);
  guard->calls = take_number(from, CALLS_MAX);
  guard->stall = take_number(from, guard->calls);
  guard->vetoes = take_number(from, guard->calls);
  guard->change_at = take_number(from, guard->calls);
  guard->write_at = take_number(from, guard->calls);
  guard->progress_at = take_number(from, guard->calls);
  guard->counted_from = take_number(from, guard->calls);
  guard->round = take_time(from);
  if (guard->units > guard->calls) from->failed = 1;
  take_tails(from, guard->before, guard->units ? guard->units - 1 : 0);
  take_tails(from, guard->tails, guard->units);
  take(from, guard->ring, sizeof guard->ring);
}

static void take_all(source *from, perigee_guard *guard) {
  take_counters(from, guard);
  uint32_t count = take_number(from, PERIGEE_GUARD_KEYS);
  while (count-- && !from->failed) take_key(from, guard);
  count = take_number(from, PERIGEE_GUARD_TOOLS);
  while (count-- && !from->failed) take_tool(from, guard);
  count = take_number(from, PERIGEE_NOVELTY_MAX);
  while (count-- && !from->failed) (void)perigee_novelty_add(&guard->seen, take_u32(from));
  if (from->at != from->length) from->failed = 1;
}

static const char *why_not(const char *bytes, size_t length) {
  uint32_t version;
  uint64_t checksum;
  if (length < 16 || memcmp(bytes, MAGIC, 4) != 0) return "is no snapshot of a guard";
  memcpy(&version, bytes + 4, sizeof version);
  if (version != VERSION) return "is a snapshot of another version";
  memcpy(&checksum, bytes + length - 8, sizeof checksum);
  if (perigee_guard_seal(bytes, (double)length - 8) != checksum) return "is damaged";
  return NULL;
}

#define NO_MEMORY "cannot be restored: out of memory"

PERIGEE_API perigee_guard *perigee_guard_restore(const perigee_guard_limits *limits,
                                                 const char *bytes, double length,
                                                 const char **why) {
  source from = {.bytes = bytes, .length = (size_t)length, .at = 8};
  *why = why_not(bytes, from.length);
  if (*why) return NULL;
  from.length -= 8;
  perigee_guard *guard = perigee_guard_new(limits);
  if (!guard) {
    *why = NO_MEMORY;
    return NULL;
  }
  take_all(&from, guard);
  if (!from.failed) return guard;
  *why = from.no_memory ? NO_MEMORY : "has numbers that cannot be";
  perigee_guard_free(guard);
  return NULL;
}

/* Checks. */

static const char *verify_recent(const perigee_recent *table) {
  uint32_t count = 0, older = 0;
  for (uint32_t i = table->oldest; i; i = perigee_recent_at(table, i)->newer) {
    PERIGEE_VERIFY(i <= table->count && ++count <= table->count);
    PERIGEE_VERIFY(perigee_recent_at(table, i)->older == older);
    PERIGEE_VERIFY(perigee_recent_find(table, perigee_recent_at(table, i)->name) ==
                   perigee_recent_at(table, i));
    older = i;
  }
  PERIGEE_VERIFY(count == table->count && older == table->newest);
  PERIGEE_VERIFY(table->count <= table->capacity && table->capacity <= table->max);
  return NULL;
}

PERIGEE_API const char *perigee_guard_verify(const perigee_guard *guard) {
  const char *broken = verify_recent(&guard->keys);
  if (!broken) broken = verify_recent(&guard->tools);
  if (broken) return broken;
  PERIGEE_VERIFY(guard->units <= guard->calls);
  PERIGEE_VERIFY(guard->seen.count <= guard->seen.capacity);
  for (uint32_t i = 0; i < guard->seen.count; i++)
    PERIGEE_VERIFY(perigee_novelty_has(&guard->seen, guard->seen.marks[i]));
  for (uint32_t p = 1; p <= PERIGEE_GUARD_PERIODS; p++) {
    PERIGEE_VERIFY(guard->tails[p] <= guard->units);
    PERIGEE_VERIFY(guard->before[p] < guard->units || guard->before[p] == 0);
  }
  return NULL;
}
