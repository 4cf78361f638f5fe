# SPDX-License-Identifier: MIT
# The target perigee_luajit: the LuaJIT that the host is linked with. It is the one below
# PERIGEE_LUAJIT, or the one that pkg-config knows.
set(PERIGEE_LUAJIT "" CACHE PATH
  "A prefix with include/luajit-2.1 and lib/libluajit-5.1.*; empty: LuaJIT as pkg-config knows it")

add_library(perigee_luajit INTERFACE)
if(PERIGEE_LUAJIT)
  find_path(include lua.h PATHS "${PERIGEE_LUAJIT}/include/luajit-2.1" NO_DEFAULT_PATH NO_CACHE)
  find_library(library luajit-5.1 NO_DEFAULT_PATH NO_CACHE
    PATHS "${PERIGEE_LUAJIT}/lib" "${PERIGEE_LUAJIT}/lib/${CMAKE_LIBRARY_ARCHITECTURE}")
  if(NOT include OR NOT library)
    message(FATAL_ERROR "PERIGEE_LUAJIT is ${PERIGEE_LUAJIT}, which has no "
      "include/luajit-2.1/lua.h or no lib/libluajit-5.1.so (or .a)")
  endif()
  message(STATUS "LuaJIT: ${library}")
  target_include_directories(perigee_luajit SYSTEM INTERFACE "${include}")
  target_link_libraries(perigee_luajit INTERFACE "${library}")
  if(library MATCHES "\\.a$") # then C modules find the Lua API in the host itself
    target_link_libraries(perigee_luajit INTERFACE m ${CMAKE_DL_LIBS})
    target_link_options(perigee_luajit INTERFACE -Wl,-E)
  endif()
  unset(include)
  unset(library)
else()
  pkg_check_modules(LUAJIT REQUIRED IMPORTED_TARGET luajit)
  target_link_libraries(perigee_luajit INTERFACE PkgConfig::LUAJIT)
endif()
