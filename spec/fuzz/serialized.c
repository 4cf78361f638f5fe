/* SPDX-License-Identifier: MIT
 *
 * Fuzz target: the walk over serialized bytes reads nothing outside them, ends, and gives a text
 * or nothing. The bytes lie in a block of just their size, so that one byte beyond is seen.
 */
#include "core/serialized.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *bytes = malloc(size ? size : 1);
  if (!bytes) return 0;
  if (size) memcpy(bytes, data, size);
  const char *wrong = perigee_serialized_check(bytes, size);
  if (wrong && strlen(wrong) == 0) abort();
  if (perigee_checksum("p", 1, bytes, size) != perigee_checksum("p", 1, bytes, size)) abort();
  free(bytes);
  return 0;
}
