# SPDX-License-Identifier: MIT
# Where things are installed, below the prefix. The rock passes its own folders.
include_guard()

option(PERIGEE_DEBIAN "Install as Debian's policy wants it, for the package (see debian.cmake)" OFF)

set(folder_of_lib "lib")
set(folder_of_doc "share/doc/perigee")
if(PERIGEE_DEBIAN)
  set(folder_of_lib "lib/${CMAKE_LIBRARY_ARCHITECTURE}")
  set(folder_of_doc "share/doc/lua-perigee")
endif()
set(PERIGEE_INSTALL_LUA "share/lua/5.1" CACHE STRING "Lua modules")
set(PERIGEE_INSTALL_LIB "${folder_of_lib}/lua/5.1" CACHE STRING "C libraries, in a folder perigee/")
set(PERIGEE_INSTALL_BIN "bin" CACHE STRING "The host")
set(PERIGEE_INSTALL_DOC "${folder_of_doc}" CACHE STRING "Documentation and examples")
set(PERIGEE_INSTALL_MAN "share/man/man1" CACHE STRING "The host's manual page")

# Libraries that are not where the system's are (PERIGEE_LUAJIT) are found by an installed host.
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)
set(CMAKE_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

# Where the host looks, from its prefix. A rock's files are moved once more, into the tree's usual
# folders, so those that it was given say nothing.
set(PERIGEE_HOST_LUA "share/lua/5.1")
set(PERIGEE_HOST_LIB "lib/lua/5.1")
if(NOT IS_ABSOLUTE "${PERIGEE_INSTALL_LUA}")
  set(PERIGEE_HOST_LUA "${PERIGEE_INSTALL_LUA}")
endif()
if(NOT IS_ABSOLUTE "${PERIGEE_INSTALL_LIB}")
  set(PERIGEE_HOST_LIB "${PERIGEE_INSTALL_LIB}")
endif()

# Folders are installed beside README.md as they stand in the tree, so that its links hold.
function(perigee_install_folder name)
  install(DIRECTORY ${name}/ DESTINATION "${PERIGEE_INSTALL_DOC}/${name}"
    PATTERN ".*" EXCLUDE PATTERN "error.log" EXCLUDE PATTERN "nginx.pid" EXCLUDE
    PATTERN "*_temp" EXCLUDE)
endfunction()

# Lua modules and documentation: all that is not built from C.
function(perigee_install_texts)
  install(DIRECTORY lua/ "${CMAKE_BINARY_DIR}/lua/" DESTINATION "${PERIGEE_INSTALL_LUA}"
    FILES_MATCHING PATTERN "*.lua")
  foreach(folder docs examples library)
    if(IS_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/${folder}")
      perigee_install_folder(${folder})
    endif()
  endforeach()
  if(NOT PERIGEE_DEBIAN) # there it is compressed
    install(FILES "${CMAKE_BINARY_DIR}/perigee.1" DESTINATION "${PERIGEE_INSTALL_MAN}")
  endif()
  set(texts README.md SECURITY.md CONTRIBUTING.md)
  if(NOT PERIGEE_DEBIAN) # there they are changelog.gz and copyright
    list(APPEND texts CHANGELOG.md LICENSE)
  endif()
  foreach(text ${texts})
    if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${text}")
      install(FILES ${text} DESTINATION "${PERIGEE_INSTALL_DOC}")
    endif()
  endforeach()
endfunction()

add_custom_target(uninstall
  COMMAND ${CMAKE_COMMAND} "-DBUILD=${CMAKE_BINARY_DIR}" "-DPREFIX=${CMAKE_INSTALL_PREFIX}"
          -P "${CMAKE_CURRENT_SOURCE_DIR}/cmake/uninstall.cmake"
  VERBATIM)
