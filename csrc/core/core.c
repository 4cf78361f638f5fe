/* SPDX-License-Identifier: MIT */
#include "core/core.h"

#include "base/hash.h"

PERIGEE_API int32_t perigee_core_abi(void) {
  return PERIGEE_CORE_ABI;
}

PERIGEE_API uint32_t perigee_core_fail_at(uint32_t n) {
  return perigee_alloc_fail_at(n);
}

PERIGEE_API uint32_t perigee_core_random(void) {
  return (uint32_t)(perigee_hash_random_seed() >> 32);
}

PERIGEE_API double perigee_core_states(int32_t entered) {
  static double states;
  if (entered) states++;
  return states;
}

PERIGEE_API const char *perigee_core_bool(int32_t value) {
  static const char words[2] = {0, 1};
  return &words[value != 0];
}
