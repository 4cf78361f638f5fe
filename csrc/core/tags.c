/* SPDX-License-Identifier: MIT
 *
 * A tree of path parts in one array of nodes, found by the hash of the whole path:
 *
 *      root ── user ── user:1 ── user:1:items        hash(child) = fold(hash(parent), part)
 *                 └─── user:2
 *
 * Invariants: a node's `refs` counts its children and its holders; a node other than the root
 * with no refs stands in the idle list, newest at the head; the idle list is bounded; every
 * version is at most `version`.
 */
#include "core/tags.h"

#include "base/hash.h"

#include <string.h>

enum { IDLE_MAX = PERIGEE_IF_HARD(2, 4096), NONE = -1 };

typedef struct tag_node {
  uint64_t hash;
  uint64_t down; /* when this path was last written */
  uint64_t up;   /* when a descendant was last written */
  int32_t parent;
  uint32_t refs;
  int32_t newer; /* neighbours in the idle list; `newer` also links free nodes */
  int32_t older;
} tag_node;

struct perigee_tags {
  uint64_t version; /* first: perigee_tags_now reads it there */
  tag_node *nodes;
  uint32_t capacity;
  uint32_t used;
  int32_t free;
  int32_t *cells; /* hash index: node + 1, 0 = empty; linear probing, half full at most */
  uint32_t cell_mask;
  uint32_t live;
  int32_t idle_head;
  int32_t idle_tail;
  uint32_t idle_count;
  uint64_t floor;
  uint64_t seed;
  uint32_t owners;
};

_Static_assert(offsetof(perigee_tags, version) == 0, "perigee_tags_now reads the first member");

PERIGEE_API perigee_tags *perigee_tags_new(void) {
  perigee_tags *tags = perigee_zalloc(sizeof *tags);
  if (!tags) return NULL;
  tags->owners = 1;
  tags->seed = perigee_hash_random_seed();
  tags->free = tags->idle_head = tags->idle_tail = NONE;
  tags->cell_mask = 15;
  tags->cells = perigee_zalloc((tags->cell_mask + 1) * sizeof *tags->cells);
  if (!tags->cells || perigee_grow((void **)&tags->nodes, &tags->capacity, 1, sizeof(tag_node))) {
    perigee_tags_free(tags);
    return NULL;
  }
  tags->nodes[0] = (tag_node){.hash = tags->seed, .parent = NONE, .refs = 1};
  tags->used = 1;
  return tags;
}

PERIGEE_API void perigee_tags_retain(perigee_tags *tags) {
  tags->owners++;
}

PERIGEE_API void perigee_tags_free(perigee_tags *tags) {
  if (!tags || --tags->owners > 0) return;
  perigee_dealloc(tags->nodes);
  perigee_dealloc(tags->cells);
  perigee_dealloc(tags);
}

PERIGEE_API double perigee_tags_version(const perigee_tags *tags) {
  return (double)tags->version;
}

/* The index. */

static int32_t find_node(const perigee_tags *tags, uint64_t hash) {
  for (uint32_t at = (uint32_t)hash & tags->cell_mask;; at = (at + 1) & tags->cell_mask) {
    int32_t node = tags->cells[at] - 1;
    if (node < 0 || tags->nodes[node].hash == hash) return node;
  }
}

static void index_node(perigee_tags *tags, int32_t node) {
  uint32_t at = (uint32_t)tags->nodes[node].hash & tags->cell_mask;
  while (tags->cells[at] != 0) at = (at + 1) & tags->cell_mask;
  tags->cells[at] = node + 1;
}

static void unindex_node(perigee_tags *tags, int32_t node) {
  uint32_t mask = tags->cell_mask, hole = (uint32_t)tags->nodes[node].hash & mask;
  while (tags->cells[hole] != node + 1) hole = (hole + 1) & mask;
  for (uint32_t at = (hole + 1) & mask; tags->cells[at] != 0; at = (at + 1) & mask) {
    uint32_t home = (uint32_t)tags->nodes[tags->cells[at] - 1].hash & mask;
    if (((at - home) & mask) < ((at - hole) & mask)) continue;
    tags->cells[hole] = tags->cells[at];
    hole = at;
  }
  tags->cells[hole] = 0;
}

static int grow_index(perigee_tags *tags) {
  if ((tags->live + 1) * 2 <= tags->cell_mask + 1) return 0;
  uint32_t old_count = tags->cell_mask + 1;
  int32_t *old = tags->cells;
  int32_t *cells = perigee_zalloc((size_t)old_count * 2 * sizeof *cells);
  if (!cells) return -1;
  tags->cells = cells;
  tags->cell_mask = old_count * 2 - 1;
  for (uint32_t i = 0; i < old_count; i++)
    if (old[i]) index_node(tags, old[i] - 1);
  perigee_dealloc(old);
  return 0;
}

/* The idle list. */

static void idle_push(perigee_tags *tags, int32_t node) {
  tags->nodes[node].newer = NONE;
  tags->nodes[node].older = tags->idle_head;
  if (tags->idle_head != NONE)
    tags->nodes[tags->idle_head].newer = node;
  else
    tags->idle_tail = node;
  tags->idle_head = node;
  tags->idle_count++;
}

static void idle_remove(perigee_tags *tags, int32_t node) {
  int32_t newer = tags->nodes[node].newer, older = tags->nodes[node].older;
  if (newer != NONE)
    tags->nodes[newer].older = older;
  else
    tags->idle_head = older;
  if (older != NONE)
    tags->nodes[older].newer = newer;
  else
    tags->idle_tail = newer;
  tags->idle_count--;
}

PERIGEE_API void perigee_tags_hold(perigee_tags *tags, int32_t node) {
  if (tags->nodes[node].refs++ == 0) idle_remove(tags, node);
}

PERIGEE_API void perigee_tags_drop(perigee_tags *tags, int32_t node) {
  if (--tags->nodes[node].refs == 0) idle_push(tags, node);
}

static void raise_floor(perigee_tags *tags, uint64_t version) {
  if (version > tags->floor) tags->floor = version;
}

/* Forgets the oldest idle node; its parent may become idle by that. */
static void forget_idle(perigee_tags *tags) {
  int32_t node = tags->idle_tail;
  int32_t parent = tags->nodes[node].parent;
  raise_floor(tags, tags->nodes[node].down);
  raise_floor(tags, tags->nodes[node].up);
  idle_remove(tags, node);
  unindex_node(tags, node);
  tags->live--;
  tags->nodes[node].newer = tags->free;
  tags->free = node;
  perigee_tags_drop(tags, parent);
}

/* Paths. */

static int32_t new_node(perigee_tags *tags, int32_t parent, uint64_t hash) {
  if (grow_index(tags)) return NONE;
  int32_t node = tags->free;
  if (node != NONE) {
    tags->free = tags->nodes[node].newer;
  } else {
    if (perigee_grow((void **)&tags->nodes, &tags->capacity, tags->used + 1, sizeof(tag_node)))
      return NONE;
    node = (int32_t)tags->used++;
  }
  tags->nodes[node] = (tag_node){.hash = hash, .parent = parent};
  perigee_tags_hold(tags, parent);
  index_node(tags, node);
  tags->live++;
  idle_push(tags, node);
  return node;
}

static int32_t child_of(perigee_tags *tags, int32_t parent, const char *part, size_t length) {
  uint64_t name = perigee_hash_bytes(part, length, tags->seed);
  uint64_t hash = perigee_hash_fold(tags->nodes[parent].hash ^ PERIGEE_HASH_K2, name);
  int32_t node = find_node(tags, hash);
  return node != NONE ? node : new_node(tags, parent, hash);
}

static int32_t trimmed(perigee_tags *tags, int32_t node) {
  while (tags->idle_count > IDLE_MAX && tags->idle_tail != node) forget_idle(tags);
  return node;
}

PERIGEE_API int32_t perigee_tags_part(perigee_tags *tags, int32_t parent, const char *part,
                                      uint32_t length) {
  return trimmed(tags, child_of(tags, parent, part, length));
}

PERIGEE_API int32_t perigee_tags_path(perigee_tags *tags, const char *path, uint32_t length) {
  const char *end = path + length;
  int32_t node = PERIGEE_TAG_ROOT;
  for (;;) {
    const char *colon = memchr(path, ':', (size_t)(end - path));
    node = child_of(tags, node, path, (size_t)((colon ? colon : end) - path));
    if (node == NONE || !colon) return trimmed(tags, node);
    path = colon + 1;
  }
}

/* Versions. */

PERIGEE_API void perigee_tags_write(perigee_tags *tags, int32_t node) {
  uint64_t version = ++tags->version;
  tags->nodes[node].down = version;
  for (int32_t at = tags->nodes[node].parent; at != NONE; at = tags->nodes[at].parent)
    tags->nodes[at].up = version;
}

PERIGEE_API int32_t perigee_tags_valid(const perigee_tags *tags, int32_t node, double stamp) {
  uint64_t since = (uint64_t)stamp;
  if (since < tags->nodes[node].up) return 0;
  for (int32_t at = node; at != NONE; at = tags->nodes[at].parent)
    if (since < tags->nodes[at].down) return 0;
  return 1;
}

PERIGEE_API int32_t perigee_tags_may_keep(const perigee_tags *tags, int32_t node, double began) {
  return (uint64_t)began >= tags->floor && perigee_tags_valid(tags, node, began);
}

static const char *verify_node(const perigee_tags *tags, int32_t node) {
  const tag_node *at = &tags->nodes[node];
  PERIGEE_VERIFY(find_node(tags, at->hash) == node);
  PERIGEE_VERIFY(at->down <= tags->version && at->up <= tags->version);
  PERIGEE_VERIFY(at->parent >= 0 && tags->nodes[at->parent].refs > 0);
  return NULL;
}

PERIGEE_API const char *perigee_tags_verify(const perigee_tags *tags) {
  uint32_t live = 0, idle = 0;
  for (uint32_t i = 0; i <= tags->cell_mask; i++) {
    if (tags->cells[i] == 0) continue;
    const char *broken = verify_node(tags, tags->cells[i] - 1);
    if (broken) return broken;
    live++;
  }
  for (int32_t at = tags->idle_head; at != NONE; at = tags->nodes[at].older, idle++)
    PERIGEE_VERIFY(tags->nodes[at].refs == 0);
  PERIGEE_VERIFY(live == tags->live);
  PERIGEE_VERIFY(idle == tags->idle_count);
  return NULL;
}
