rockspec_format = "3.0"
package = "perigee"
version = "scm-1"
-- Built from a checkout, without a network:
--   luarocks --lua-version 5.1 make rockspec/perigee-scm-1.rockspec
source = { url = "git+file://." }
description = {
  summary = "A cache library for LuaJIT: a C core, libev, one load for a thousand callers",
  license = "MIT",
}
dependencies = { "lua == 5.1" }
external_dependencies = {
  LIBEV = { header = "ev.h" },
  SQLITE = { header = "sqlite3.h" },
  HIREDIS = { header = "hiredis/hiredis.h" },
  CURL = { library = "curl" }, -- its header is below a folder of the architecture
  MICROHTTPD = { header = "microhttpd.h" },
}
build = {
  type = "cmake",
  variables = {
    CMAKE_BUILD_TYPE = "Release",
    CMAKE_INSTALL_PREFIX = "$(PREFIX)",
    PERIGEE_INSTALL_LUA = "$(LUADIR)",
    PERIGEE_INSTALL_LIB = "$(LIBDIR)",
    PERIGEE_INSTALL_BIN = "$(BINDIR)",
    PERIGEE_INSTALL_DOC = "$(PREFIX)/doc",
    PERIGEE_INSTALL_MAN = "$(PREFIX)/doc/man1",
    PERIGEE_WERROR = "OFF",
  },
}
