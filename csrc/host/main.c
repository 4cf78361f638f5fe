/* SPDX-License-Identifier: MIT
 *
 * main.c: the `perigee` executable: a Lua state, the places where Perigee's modules are, and
 * perigee.host (Lua), which does the rest. The one file of Perigee that sees a lua_State.
 *
 * Modules are looked for beside the executable before LUA_PATH and LUA_CPATH: in the tree of a
 * build (../lua, ../lib), or where an installation has them (PERIGEE_LUA_FOLDER and _LIB_FOLDER,
 * below the prefix).
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Arguments: the executable's path, argv, the folders of an installation. Returns the exit code. */
static const char bootstrap[] =
  "local executable, arguments, lua, lib = ...\n"
  "local prefix = executable:match('^(.*)/[^/]*/[^/]*$') or '.'\n"
  "local built = io.open(prefix .. '/lua/perigee/version.lua')\n"
  "if built then\n"
  "  built:close()\n"
  "  lua, lib = 'lua', 'lib'\n"
  "end\n"
  "package.path = prefix .. '/' .. lua .. '/?.lua;' .. package.path\n"
  "package.cpath = prefix .. '/' .. lib .. '/?.so;' .. package.cpath\n"
  "local found, host = pcall(require, 'perigee.host')\n"
  "if not found then\n"
  "  io.stderr:write('perigee: cannot load its Lua modules: ', tostring(host), '\\n')\n"
  "  return 1\n"
  "end\n"
  "return host.main(arguments)\n";

static void push_executable(lua_State *L, const char *fallback) {
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  if (length > 0 && length < (ssize_t)sizeof path) {
    lua_pushlstring(L, path, (size_t)length);
  } else {
    lua_pushstring(L, fallback);
  }
}

static void push_arguments(lua_State *L, int argc, char **argv) {
  lua_createtable(L, argc, 1);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i);
  }
}

/* -E among the options before the script: LUA_PATH and its kin do not count. */
static int ignores_environment(char **argv) {
  for (int i = 1; argv[i] && argv[i][0] == '-'; i++) {
    if (strcmp(argv[i], "-E") == 0) return 1;
    if (strcmp(argv[i], "-e") == 0 || strcmp(argv[i], "-l") == 0 || strcmp(argv[i], "-j") == 0) {
      if (!argv[++i]) break;
    }
  }
  return 0;
}

static int open_state(lua_State *L) {
  char **argv = lua_touserdata(L, 1);
  if (ignores_environment(argv)) {
    lua_pushboolean(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  }
  luaL_openlibs(L);
  return 0;
}

static int run(lua_State *L, int argc, char **argv) {
  if (lua_cpcall(L, open_state, argv) ||
      luaL_loadbuffer(L, bootstrap, strlen(bootstrap), "=host")) {
    return -1;
  }
  push_executable(L, argv[0]);
  push_arguments(L, argc, argv);
  lua_pushliteral(L, PERIGEE_LUA_FOLDER);
  lua_pushliteral(L, PERIGEE_LIB_FOLDER);
  return lua_pcall(L, 4, 1, 0) ? -1 : (int)lua_tointeger(L, -1);
}

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  if (!L) {
    fputs("perigee: cannot make a Lua state: out of memory\n", stderr);
    return EXIT_FAILURE;
  }
  int code = run(L, argc, argv);
  if (code < 0) {
    const char *message = lua_tostring(L, -1);
    fprintf(stderr, "perigee: %s\n", message ? message : "(the error is no text)");
    code = EXIT_FAILURE;
  }
  lua_close(L);
  return code;
}
