/* SPDX-License-Identifier: MIT */
#include "rt/rt.h"

#include <string.h>

PERIGEE_API int32_t perigee_rt_abi(void) {
  return PERIGEE_RT_ABI;
}

PERIGEE_API uint32_t perigee_rt_fail_at(uint32_t n) {
  return perigee_alloc_fail_at(n);
}

PERIGEE_API const char *perigee_rt_strerror(int32_t code) {
  return strerror(code);
}
