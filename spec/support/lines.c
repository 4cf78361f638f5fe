/* SPDX-License-Identifier: MIT
 *
 * Counts the lines of Lua that run, for `./dev coverage`: loaded by LUA_INIT into each luajit that
 * the specs start. What it has counted of files below lua/perigee is written at the end of the
 * process: into a file of its own in $PERIGEE_COVERAGE, as lines "path line count".
 */
#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILES = 4096, LINES = 512 }; /* no file has more lines */

/* Chunks are told apart by where their names stand: those of modules are never freed. */
typedef struct file {
  const char *source;
  char *path; /* NULL: not one of ours */
  uint32_t counts[LINES];
} file;

static file *files[FILES];
static file *last;

static file *find(const char *source) {
  uint32_t at = (uint32_t)((uintptr_t)source * 0x9E3779B97F4A7C15ull >> 52);
  while (files[at] && files[at]->source != source) at = (at + 1) % FILES;
  if (files[at]) return files[at];
  file *found = calloc(1, sizeof *found);
  if (!found) abort();
  const char *path = source[0] == '@' ? strstr(source, "lua/perigee") : NULL;
  found->source = source;
  found->path = path ? strdup(path) : NULL;
  return files[at] = found;
}

static void count(lua_State *L, lua_Debug *at) {
  if (!lua_getinfo(L, "S", at)) return;
  if (!last || last->source != at->source) last = find(at->source);
  if (last->path && at->currentline < LINES) last->counts[at->currentline]++;
}

__attribute__((destructor)) static void write_counts(void) {
  char path[4096];
  const char *folder = getenv("PERIGEE_COVERAGE");
  snprintf(path, sizeof path, "%s/lua-%d-%p", folder ? folder : ".", getpid(), (void *)&path);
  FILE *out = folder && last ? fopen(path, "a") : NULL;
  if (!out) return;
  for (int i = 0; i < FILES; i++)
    for (int line = 0; files[i] && files[i]->path && line < LINES; line++)
      if (files[i]->counts[line])
        fprintf(out, "%s %d %u\n", files[i]->path, line, files[i]->counts[line]);
  fclose(out);
}

/* Compiled code calls no hook. */
int luaopen_lines(lua_State *L);
int luaopen_lines(lua_State *L) {
  luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
  lua_sethook(L, count, LUA_MASKLINE, 0);
  return 0;
}
