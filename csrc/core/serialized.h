/* SPDX-License-Identifier: MIT
 *
 * serialized.h: whether bytes from outside may be given to `string.buffer.decode`.
 *
 * LuaJIT's decoder trusts its input: six bytes can make it allocate gigabytes, nine can forge a
 * pointer. This walks the bytes before, once, with no allocation and no recursion, and allows
 * only what Perigee's own encoder writes: nil, booleans, integers, numbers, strings, 64-bit
 * integers, and tables of them. The format is that of LuaJIT's documentation, "Serialization
 * Format Specification" (ext_buffer).
 */
#ifndef PERIGEE_SERIALIZED_H
#define PERIGEE_SERIALIZED_H

#include "base/base.h"

/* ffi: begin */
enum { PERIGEE_SERIALIZED_DEPTH = 64 }; /* tables in tables, at most */

/* perigee_serialized_check: NULL if the bytes are one value, and nothing after it, that decodes
 * to at most a small multiple of its length; else what is wrong with them. */
const char *perigee_serialized_check(const char *bytes, size_t length);

/* perigee_checksum: of bytes and the place that they are for: 64 bits against accidents, not against
 * forgers. */
uint64_t perigee_checksum(const char *place, size_t place_length, const char *bytes, size_t length);
/* ffi: end */

#endif
