/* SPDX-License-Identifier: MIT */
#include "core/serialized.h"

#include "base/hash.h"

#include <string.h>

enum {
  TAG_TRUE = 0x02, /* nil and false are below */
  TAG_LIGHT_LAST = 0x05,
  TAG_INT = 0x06,
  TAG_NUMBER = 0x07,
  TAG_TABLE = 0x08, /* empty; to 0x0D: with parts, see `open_table` */
  TAG_TABLE_LAST = 0x0D,
  TAG_DICT_TABLE = 0x0E,
  TAG_DICT_STRING = 0x0F,
  TAG_INT64 = 0x10,
  TAG_UINT64 = 0x11,
  TAG_COMPLEX = 0x12,
  TAG_STRING = 0x20, /* + its length */
  DEPTH = PERIGEE_SERIALIZED_DEPTH,
};

/* What is still to come of a table that is open. Of a pair, the key comes first. */
typedef struct level {
  uint32_t values; /* of the array part */
  uint32_t pairs;
  int key_read; /* the next object is the value of a pair */
} level;

typedef struct walk {
  const uint8_t *at;
  const uint8_t *end;
  uint32_t depth;
  level levels[DEPTH];
} walk;

static const char *const truncated = "they end too early";

static size_t left(const walk *walk) {
  return (size_t)(walk->end - walk->at);
}

static const char *skip(walk *walk, size_t length) {
  if (left(walk) < length) return truncated;
  walk->at += length;
  return NULL;
}

/* A number in one, two or five bytes. */
static const char *read_count(walk *walk, uint32_t *count) {
  if (left(walk) < 1) return truncated;
  uint32_t first = *walk->at++;
  *count = first;
  if (first < 0xE0) return NULL;
  if (first != 0xFF) {
    if (left(walk) < 1) return truncated;
    *count = 0xE0 + ((first & 0x1F) << 8) + *walk->at++;
    return NULL;
  }
  const uint8_t *bytes = walk->at;
  if (skip(walk, 4)) return truncated;
  *count = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
  return NULL;
}

/* Tags 8 to 13: bit 0 of the difference says that pairs follow, the rest whether and from which
 * index values do (from 1: the count includes the index 0 that is not there). */
static const char *open_table(walk *walk, uint32_t tag) {
  uint32_t kind = tag - TAG_TABLE, values = 0, pairs = 0;
  const char *wrong = NULL;
  if (kind >= 2) wrong = read_count(walk, &values);
  if (!wrong && (kind & 1)) wrong = read_count(walk, &pairs);
  if (wrong) return wrong;
  if (kind >= 4 && values == 0) return "a list has no index 1";
  if (kind >= 4) values--;
  if (values > left(walk)) return "a list is longer than what is left";
  if (pairs > (left(walk) - values) / 2) return "a table has more fields than what is left";
  if (walk->depth == DEPTH) return "tables are nested too deep";
  walk->levels[walk->depth++] = (level){.values = values, .pairs = pairs};
  return NULL;
}

static const char *read_string(walk *walk) {
  uint32_t length;
  const char *wrong = read_count(walk, &length);
  if (wrong) return wrong;
  if (length < TAG_STRING) return "they hold an unknown tag"; /* a short number written long */
  return skip(walk, length - TAG_STRING);
}

static const char *check_key(uint32_t tag, const uint8_t *data, const uint8_t *end) {
  if (tag == 0) return "a field's key is nil";
  if (tag != TAG_NUMBER || end - data < 8) return NULL;
  double number;
  memcpy(&number, data, 8);
  return number != number ? "a field's key is NaN" : NULL;
}

/* Reads the tag of an object and what follows at once; of a table, its counts. */
static const char *read_object(walk *walk) {
  uint32_t tag = *walk->at;
  if (tag >= TAG_STRING) return read_string(walk);
  walk->at++;
  if (tag <= TAG_TRUE) return NULL;
  if (tag == TAG_INT) return skip(walk, 4);
  if (tag == TAG_NUMBER || tag == TAG_INT64 || tag == TAG_UINT64) return skip(walk, 8);
  if (tag >= TAG_TABLE && tag <= TAG_TABLE_LAST) return open_table(walk, tag);
  if (tag <= TAG_LIGHT_LAST) return "they hold a pointer";
  if (tag == TAG_DICT_TABLE || tag == TAG_DICT_STRING) return "they refer to a dictionary";
  if (tag == TAG_COMPLEX) return "they hold a complex number";
  return "they hold an unknown tag";
}

/* Whether another object is to come: takes it off the innermost table that is not complete. */
static int expects_more(walk *walk, int *is_key) {
  *is_key = 0;
  while (walk->depth > 0) {
    level *level = &walk->levels[walk->depth - 1];
    if (level->values > 0) {
      level->values--;
      return 1;
    }
    if (level->key_read) {
      level->key_read = 0;
      return 1;
    }
    if (level->pairs > 0) {
      level->pairs--;
      level->key_read = *is_key = 1;
      return 1;
    }
    walk->depth--;
  }
  return 0;
}

PERIGEE_API const char *perigee_serialized_check(const char *bytes, size_t length) {
  walk walk = {.at = (const uint8_t *)bytes, .end = (const uint8_t *)bytes + length};
  int is_key = 0;
  do {
    if (left(&walk) == 0) return truncated;
    const char *wrong = is_key ? check_key(*walk.at, walk.at + 1, walk.end) : NULL;
    if (!wrong) wrong = read_object(&walk);
    if (wrong) return wrong;
  } while (expects_more(&walk, &is_key));
  return left(&walk) == 0 ? NULL : "something follows them";
}

PERIGEE_API uint64_t perigee_checksum(const char *place, size_t place_length, const char *bytes,
                                      size_t length) {
  uint64_t seed = perigee_hash_bytes(place, place_length, PERIGEE_HASH_K0);
  return perigee_hash_bytes(bytes, length, seed);
}
