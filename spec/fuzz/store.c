/* SPDX-License-Identifier: MIT
 *
 * Fuzz target: operations on a store, of any policy, against a model that is an array. What is
 * found is what was put there last, it lives, and nothing of it was forgotten; now and then the
 * store is looked through. Allocations fail when the bytes say so.
 *
 * The model knows no order of eviction: what is not there may have been evicted, and then it stays
 * away. A store without bounds must have everything.
 */
#include "core/store.h"
#include "core/core.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KEYS = 48, SPACES = 2, SLOTS = 256, STEPS = 600, VERIFY_EACH = 8, TAGS = 9 };

static const char *const tags[TAGS] = {"a",     "b",     "a:x",   "a:y", "b:x",
                                       "a:x:1", "a:x:2", "b:x:1", "c"};

typedef struct model_entry {
  int there;
  uint32_t value;
  double gone_at; /* milliseconds; infinity: never */
  uint32_t tags;  /* bit i: tags[i] */
} model_entry;

typedef struct world {
  const uint8_t *data;
  size_t size, at;
  perigee_clock clock;
  perigee_tags *tags;
  perigee_store *store;
  perigee_store_view *view;
  uint32_t spaces[SPACES]; /* their numbers */
  int exact;               /* it has no bounds */
  int tracked;
  double grace_ms;
  double max_entries, max_weight;
  uint32_t value;
  double began; /* a load: the version then, and the tags that a write since has changed */
  uint32_t written;
  model_entry model[SPACES][KEYS];
  int slot_key[SLOTS]; /* key + KEYS * space + 1; 0: Lua would hold nothing there */
  uint32_t slot_value[SLOTS];
} world;

static char names[KEYS][2];

static void must(int condition) {
  if (!condition) abort();
}

static uint32_t byte(world *w) {
  return w->at < w->size ? w->data[w->at++] : 0;
}

/* Keys: numbers, strings, the address of a boolean. */
static const char *text_of(uint32_t key) {
  if (key == 0) return perigee_core_bool(1);
  return key % 2 ? NULL : names[key];
}

static double number_of(uint32_t key) {
  return text_of(key) ? 0 : (double)key * 0.5;
}

static int is_prefix(const char *one, const char *other) {
  size_t length = strlen(one);
  return strncmp(one, other, length) == 0 && (other[length] == 0 || other[length] == ':');
}

static uint32_t conflicts_of(uint32_t written) {
  uint32_t bits = 0;
  for (uint32_t i = 0; i < TAGS; i++)
    if (is_prefix(tags[i], tags[written]) || is_prefix(tags[written], tags[i])) bits |= 1u << i;
  return bits;
}

/* What the store gave up is taken out and handed back. */
static void drain(world *w) {
  while (w->view->gone_count > 0) {
    int32_t slot = perigee_store_pop(w->store);
    must(slot >= 0 && slot < SLOTS && w->view->reason > 0);
    must(w->slot_key[slot] != 0);
    w->slot_key[slot] = 0;
    perigee_store_release(w->store, slot);
  }
  must(perigee_store_pop(w->store) == PERIGEE_MISS);
}

static void forget(world *w, uint32_t space, uint32_t key) {
  w->model[space][key].there = 0;
}

static int is_alive(const world *w, const model_entry *entry) {
  return entry->there && (double)w->clock.now_ms < entry->gone_at;
}

static void compare(world *w, uint32_t space, uint32_t key, int32_t slot) {
  model_entry *entry = &w->model[space][key];
  if (slot <= PERIGEE_STALE) {
    must(entry->there && !is_alive(w, entry));
    must((double)w->clock.now_ms < entry->gone_at + w->grace_ms);
    slot = PERIGEE_STALE - slot;
  } else if (slot >= 0) {
    must(is_alive(w, entry));
  } else {
    must(slot == PERIGEE_MISS && !(w->exact && is_alive(w, entry)));
    entry->there = 0;
    return;
  }
  must(slot < SLOTS && w->slot_key[slot] == (int)(key + KEYS * space + 1));
  must(w->slot_value[slot] == entry->value);
}

static void look(world *w, uint32_t space, uint32_t key) {
  compare(w, space, key,
          perigee_store_find(w->store, w->spaces[space], text_of(key), number_of(key)));
}

static void delete (world *w, uint32_t space, uint32_t key) {
  int32_t found;
  while ((found = perigee_store_del(w->store, w->spaces[space], text_of(key), number_of(key))) ==
         PERIGEE_AGAIN)
    drain(w);
  must(!found || w->model[space][key].there);
  forget(w, space, key);
  drain(w);
}

/* All or nothing. */
static void add_tags(world *w, uint32_t space, uint32_t key, int32_t slot, uint32_t wanted) {
  for (uint32_t i = 0; i < TAGS; i++) {
    if (!(wanted >> i & 1)) continue;
    int32_t node = perigee_tags_path(w->tags, tags[i], (uint32_t)strlen(tags[i]));
    if (node < 0 || perigee_store_tag(w->store, slot, node)) return delete (w, space, key);
  }
}

static void put(world *w, uint32_t space, uint32_t key) {
  uint32_t shape = byte(w), wanted = shape & 1 ? byte(w) & byte(w) & ((1u << TAGS) - 1) : 0;
  double ttl_ms = INFINITY;
  if (shape & 2) ttl_ms = shape & 4 ? 1 + byte(w) * 97 : 1 + byte(w) % 16;
  double weight = shape >> 3;
  uint32_t length = key == 0 ? 1 : 2;
  int32_t slot;
  while ((slot = perigee_store_put(w->store, w->spaces[space], text_of(key), length, number_of(key),
                                   ttl_ms, weight)) == PERIGEE_AGAIN)
    drain(w);
  if (slot == PERIGEE_NO_MEMORY) return look(w, space, key);
  if (slot < 0) {
    must(slot == PERIGEE_MISS && (w->max_entries == 0 || weight > w->max_weight));
    forget(w, space, key);
    return drain(w);
  }
  must(slot < SLOTS && (w->view->displaced != 0) == (w->slot_key[slot] != 0));
  w->slot_key[slot] = (int)(key + KEYS * space + 1);
  w->slot_value[slot] = ++w->value;
  w->model[space][key] = (model_entry){1, w->value, (double)w->clock.now_ms + ttl_ms, wanted};
  add_tags(w, space, key, slot, wanted);
  drain(w);
  look(w, space, key);
}

static void touch(world *w, uint32_t space, uint32_t key) {
  double ttl_ms = 1 + byte(w) % 16;
  int32_t touched =
    perigee_store_touch(w->store, w->spaces[space], text_of(key), number_of(key), ttl_ms);
  if (touched == PERIGEE_NO_MEMORY) return;
  must(!touched || is_alive(w, &w->model[space][key]));
  if (touched) w->model[space][key].gone_at = (double)w->clock.now_ms + ttl_ms;
}

static void get(world *w, uint32_t space, uint32_t key) {
  int32_t slot = space == 0
                   ? perigee_store_get(w->store, text_of(key), number_of(key))
                   : perigee_store_get_in(w->store, w->spaces[space], text_of(key), number_of(key));
  compare(w, space, key, slot);
  if (slot >= 0 && byte(w) & 1) perigee_store_promote(w->store, slot);
}

static void invalidate(world *w, uint32_t tag) {
  int32_t node = perigee_tags_path(w->tags, tags[tag], (uint32_t)strlen(tags[tag]));
  uint32_t bits = node < 0 ? ~0u : conflicts_of(tag);
  w->written |= bits;
  perigee_tags_write(w->tags, node < 0 ? PERIGEE_TAG_ROOT : node);
  perigee_store_invalidate(w->store);
  for (uint32_t space = 0; space < SPACES; space++)
    for (uint32_t key = 0; key < KEYS; key++)
      if (w->model[space][key].tags & bits) forget(w, space, key);
}

/* A load that begins, or what has been written since one began. */
static void load(world *w, uint32_t tag, int begins) {
  if (begins) {
    w->began = perigee_tags_version(w->tags);
    w->written = 0;
    return;
  }
  int32_t node = perigee_tags_path(w->tags, tags[tag], (uint32_t)strlen(tags[tag]));
  if (node >= 0 && perigee_tags_may_keep(w->tags, node, w->began)) must(!(w->written >> tag & 1));
}

static void step(world *w, int32_t budget) {
  perigee_store_step(w->store, budget);
  drain(w);
}

/* To the end: what is held after it can be found. */
static void sweep(world *w) {
  while (perigee_store_step(w->store, 64) == 1) drain(w);
  drain(w);
  for (int slot = 0; slot < SLOTS; slot++) {
    if (w->slot_key[slot] == 0) continue;
    uint32_t key = (uint32_t)(w->slot_key[slot] - 1) % KEYS;
    uint32_t space = (uint32_t)(w->slot_key[slot] - 1) / KEYS;
    int32_t found = perigee_store_find(w->store, w->spaces[space], text_of(key), number_of(key));
    must(found == slot || found == PERIGEE_STALE - slot);
  }
}

static void clear(world *w) {
  while (perigee_store_clear(w->store) == PERIGEE_AGAIN) step(w, 16);
  memset(w->model, 0, sizeof w->model);
}

static void clear_space(world *w) {
  uint32_t number;
  while ((number = perigee_store_clear_space(w->store, w->spaces[1])) == 0) step(w, 16);
  w->spaces[1] = number;
  memset(w->model[1], 0, sizeof w->model[1]);
}

static void resize(world *w, uint32_t entries) {
  if (w->exact) return;
  w->max_entries = entries;
  while (perigee_store_resize(w->store, entries) == PERIGEE_AGAIN) drain(w);
  drain(w);
}

static void reweigh(world *w, uint32_t space, uint32_t key) {
  int32_t slot = perigee_store_find(w->store, w->spaces[space], text_of(key), number_of(key));
  if (slot < 0 || w->max_weight == INFINITY) return;
  int32_t result = perigee_store_reweigh(w->store, slot, byte(w));
  drain(w);
  while (result == PERIGEE_AGAIN) {
    result = perigee_store_fit(w->store);
    drain(w);
  }
}

/* A save: all that has changed is saved. */
static void save(world *w, uint32_t how) {
  if (how & 1 && perigee_store_track(w->store) == 0) w->tracked = 1;
  if (!w->tracked || !(how & 2)) return;
  for (int32_t slot = perigee_store_next_changed(w->store, -1); slot >= 0;
       slot = perigee_store_next_changed(w->store, slot)) {
    must(w->slot_key[slot] != 0);
    perigee_store_set_saved(w->store, slot, 1);
  }
  if (how & 4) perigee_store_unsave(w->store);
  if (how & 8) perigee_store_resave(w->store);
}

/* All that it says to hold, and nothing twice. */
static void walk(world *w) {
  uint8_t seen[SPACES][KEYS] = {{0}};
  uint32_t count = 0;
  for (int32_t slot = perigee_store_next(w->store, -1); slot >= 0;
       slot = perigee_store_next(w->store, slot)) {
    must(slot < SLOTS && w->slot_key[slot] > 0);
    uint32_t key = (uint32_t)(w->slot_key[slot] - 1) % KEYS;
    uint32_t space = (uint32_t)(w->slot_key[slot] - 1) / KEYS;
    must(!seen[space][key]);
    seen[space][key] = 1;
    count++;
    compare(w, space, key, slot);
  }
  must(perigee_store_size(w->store) >= count && perigee_store_size(w->store) <= w->max_entries);
  must(perigee_store_weight(w->store) <= w->max_weight);
  for (uint32_t key = 0; key < KEYS * SPACES; key++)
    if (!seen[key / KEYS][key % KEYS]) look(w, key / KEYS, key % KEYS);
}

static void operate(world *w) {
  uint32_t what = byte(w), where = byte(w);
  uint32_t space = where & 1, key = where / 2 % KEYS;
  switch (what % 20) {
    case 0:
      return invalidate(w, where % TAGS);
    case 1:
      w->clock.now_ms += where % 16;
      return;
    case 2:
      w->clock.now_ms += where * 97;
      return;
    case 3:
      return delete (w, space, key);
    case 4:
      return touch(w, space, key);
    case 5:
      return where < 40 ? clear(w) : step(w, (int32_t)where);
    case 6:
      return where < 40 ? clear_space(w) : walk(w);
    case 7:
      return resize(w, where % 50);
    case 8:
      return reweigh(w, space, key);
    case 9:
      return save(w, where);
    case 10:
      (void)perigee_alloc_fail_at(where % 6);
      return;
    case 11:
      return sweep(w);
    case 12:
      return load(w, where % TAGS, where > 200);
    case 13:
    case 14:
      return get(w, space, key);
    default:
      return put(w, space, key);
  }
}

static void verify(world *w) {
  must(perigee_store_verify(w->store) == NULL && perigee_tags_verify(w->tags) == NULL);
}

static int begin(world *w, const uint8_t *data, size_t size) {
  memset(w, 0, sizeof *w);
  w->data = data;
  w->size = size;
  w->clock.held = 1;
  w->clock.now_ms = 1000;
  uint32_t shape = byte(w), bounds = byte(w);
  w->exact = bounds == 0;
  w->grace_ms = shape & 8 ? 40 : 0;
  w->max_entries = w->exact ? INFINITY : bounds % 50;
  w->max_weight = !w->exact && shape & 16 ? 100 : INFINITY;
  perigee_store_config config = {.max_entries = w->max_entries,
                                 .max_weight = w->max_weight,
                                 .grace_ms = w->grace_ms,
                                 .policy = (int32_t)(shape % 8 % 6)};
  w->tags = perigee_tags_new();
  w->store = w->tags ? perigee_store_new(&config, &w->clock, w->tags) : NULL;
  if (!w->store) return -1;
  w->view = perigee_store_get_view(w->store);
  w->spaces[1] = perigee_store_new_space(w->store);
  return w->spaces[1] ? 0 : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static world w;
  for (int key = 0; key < KEYS; key++) names[key][0] = 'k', names[key][1] = (char)('0' + key);
  perigee_alloc_fail_at(0);
  must(begin(&w, data, size) == 0);
  for (int i = 0; i < STEPS && w.at < w.size; i++) {
    operate(&w);
    if (i % VERIFY_EACH == 0) verify(&w);
  }
  verify(&w);
  perigee_alloc_fail_at(0);
  walk(&w);
  sweep(&w);
  clear(&w);
  sweep(&w);
  for (int slot = 0; slot < SLOTS; slot++) must(w.slot_key[slot] == 0);
  perigee_store_free(w.store);
  perigee_tags_free(w.tags);
  return 0;
}
