/* SPDX-License-Identifier: MIT
 *
 * tags.h: versions of tag paths, so that invalidating a tag costs its depth and nothing else.
 *
 * A tag is a path of parts (`user:1:items`). Two tags *conflict* when one is a prefix of the
 * other, part by part. Each node of the tree of paths holds two versions: `down`, when it was
 * last written, and `up`, when a descendant was. Writing W: V = V + 1, down[W] = V, up[each
 * ancestor of W] = V. A thing stamped s is valid iff for each of its tags T: s >= down[T and
 * its ancestors] and s >= up[T].
 *
 * A registry may serve several stores. A node lives while an entry or a child refers to it;
 * written nodes that nothing refers to are kept, a bounded number of them, for the loads that
 * are running (an entry made later has a newer stamp anyway). Dropping one raises the `floor`:
 * loads that began before it are refused. Nodes are found by a seeded 64-bit hash of their
 * path; a collision would only forget too much.
 */
#ifndef PERIGEE_TAGS_H
#define PERIGEE_TAGS_H

#include "base/base.h"

/* ffi: begin */
typedef struct perigee_tags perigee_tags;

enum { PERIGEE_TAG_ROOT = 0 }; /* the node of the empty path: conflicts with every tag */

/* A registry has owners: whoever called new, and each store that uses it (finalizers of a closing
 * Lua state run in any order). The last perigee_tags_free frees it. NULL: memory is out. */
perigee_tags *perigee_tags_new(void);
void perigee_tags_retain(perigee_tags *tags);
void perigee_tags_free(perigee_tags *tags);

/* perigee_tags_version: the number of writes so far (a stamp). */
double perigee_tags_version(const perigee_tags *tags);

/* perigee_tags_path: the node of a path whose parts are separated by ':'. Nodes are made as
 * needed; unless something holds it, a node is borrowed until the next call of _path or _part
 * (whose `parent` is safe meanwhile). -1: memory is out. */
int32_t perigee_tags_path(perigee_tags *tags, const char *path, uint32_t length);

/* perigee_tags_part: the child of `parent` named by one part, colons and all. */
int32_t perigee_tags_part(perigee_tags *tags, int32_t parent, const char *part, uint32_t length);

/* perigee_tags_hold, _drop: a reference on a node (an entry, a load). */
void perigee_tags_hold(perigee_tags *tags, int32_t node);
void perigee_tags_drop(perigee_tags *tags, int32_t node);

/* perigee_tags_write: everything stamped before now that conflicts with `node` is invalid. */
void perigee_tags_write(perigee_tags *tags, int32_t node);

/* perigee_tags_valid: 1 if something that holds this tag, stamped `stamp`, is still valid. */
int32_t perigee_tags_valid(const perigee_tags *tags, int32_t node, double stamp);

/* perigee_tags_may_keep: 1 if the result of a load that began at version `began`, and learns of
 * this tag only now, may be kept. Refuses as well what began before the floor. */
int32_t perigee_tags_may_keep(const perigee_tags *tags, int32_t node, double began);

const char *perigee_tags_verify(const perigee_tags *tags);
/* ffi: end */

/* perigee_tags_now: the version, for the hit path: it is the registry's first member. */
static inline uint64_t perigee_tags_now(const perigee_tags *tags) {
  return *(const uint64_t *)(const void *)tags;
}

#endif
