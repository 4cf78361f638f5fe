/* SPDX-License-Identifier: MIT
 *
 * Fuzz targets in Lua: SCRIPT, a file that returns a function of the bytes, which raises when a
 * promise is broken. The core is part of this program, so that its C is watched; and each line of
 * Lua that runs is counted for the fuzzer, which takes what reaches a new line for progress.
 */
#include "core/core.h"

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { COUNTERS = 1 << 14 };

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[COUNTERS];

static lua_State *L;

/* Chunks are told apart by where their names stand. */
static void count_line(lua_State *state, lua_Debug *at) {
  if (!lua_getinfo(state, "S", at)) return;
  uintptr_t place = (uintptr_t)at->source * 31 + (uintptr_t)at->currentline;
  counters[place * 0x9E3779B97F4A7C15ull >> 50]++;
}

static void stop(const char *why) {
  fprintf(stderr, "%s\n%s\n", why, lua_tostring(L, -1));
  abort();
}

static void finish(void) {
  lua_close(L);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  L = luaL_newstate();
  if (!L || atexit(finish)) abort();
  luaL_openlibs(L);
  luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF); /* compiled code calls no hook */
  lua_getglobal(L, "debug");
  lua_getfield(L, -1, "traceback");
  if (luaL_loadfile(L, SCRIPT) || lua_pcall(L, 0, 1, 0)) stop("the target does not load");
  lua_sethook(L, count_line, LUA_MASKLINE, 0);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  lua_pushvalue(L, -2); /* debug.traceback */
  lua_pushvalue(L, -2); /* the target */
  lua_pushlstring(L, (const char *)data, size);
  if (lua_pcall(L, 1, 0, -3)) stop("a promise is broken");
  lua_pop(L, 1);
  return 0;
}
