/* SPDX-License-Identifier: MIT
 *
 * Fuzz target: a snapshot of a guard is restored or refused, whatever its bytes are; one that is
 * restored can be used, saved and restored again. The checksum is made right first: a fuzzer would
 * not guess it.
 */
#include "core/guard.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(perigee_guard *guard, const uint8_t *data, size_t size) {
  perigee_guard_call call = {0};
  perigee_guard_verdict verdict;
  for (size_t i = 0; i < size && i < 64; i++) {
    char argument = (char)(data[i] & 15);
    perigee_guard_name(&call, "tool", 4, &argument, 1, 1);
    call.now = (double)i;
    call.round = data[i] >> 6;
    call.pending = data[i] >> 7;
    perigee_guard_check(guard, &call, &verdict);
    if (verdict.action >= PERIGEE_GUARD_BLOCK)
      perigee_guard_refuse(guard, &call);
    else
      perigee_guard_record(guard, &call, argument, data[i] >> 5);
    if (perigee_guard_verify(guard)) abort();
  }
}

static void save_again(const perigee_guard *guard, const perigee_guard_limits *limits) {
  const char *why;
  double size = perigee_guard_save(guard, NULL, 0);
  char *bytes = malloc((size_t)size);
  if (!bytes) return;
  perigee_guard_save(guard, bytes, size);
  perigee_guard *again = perigee_guard_restore(limits, bytes, size, &why);
  if (!again) abort();
  perigee_guard_free(again);
  free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *why;
  perigee_guard_limits limits;
  perigee_guard_default_limits(&limits);
  char *bytes = malloc(size ? size : 1);
  if (!bytes) return 0;
  if (size) memcpy(bytes, data, size);
  if (size >= 16) {
    uint64_t seal = perigee_guard_seal(bytes, (double)size - 8);
    memcpy(bytes + size - 8, &seal, 8);
  }
  perigee_guard *guard = perigee_guard_restore(&limits, bytes, (double)size, &why);
  free(bytes);
  if (!guard) return 0;
  if (perigee_guard_verify(guard)) abort();
  use(guard, data, size);
  if (perigee_guard_calls(guard) < 1e9) save_again(guard, &limits);
  perigee_guard_free(guard);
  return 0;
}
