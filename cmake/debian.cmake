# SPDX-License-Identifier: MIT
# A Debian package by CPack: `./dev deb`, or `cpack` in a build with -DPERIGEE_DEBIAN=ON and the
# prefix /usr. Its folders are in install.cmake; here is what Debian wants besides.
if(NOT CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  message(FATAL_ERROR "PERIGEE_DEBIAN needs -DCMAKE_INSTALL_PREFIX=/usr")
endif()
set(maintainer "The Perigee authors <perigee@localhost>")
if(DEFINED ENV{DEBFULLNAME} AND DEFINED ENV{DEBEMAIL}) # as Debian's own tools have it
  set(maintainer "$ENV{DEBFULLNAME} <$ENV{DEBEMAIL}>")
endif()
set(PERIGEE_MAINTAINER "${maintainer}" CACHE STRING
  "Who answers for the Debian package: Name <address>")
set(PERIGEE_DEBIAN_REVISION "1" CACHE STRING "The package's own part of the version")
set(folder "${CMAKE_BINARY_DIR}/debian")

# The copyright file is LICENSE, as a field of Debian's format.
file(READ LICENSE licence)
string(REGEX MATCH "Copyright \\(c\\) ([^\n]*)" ignored "${licence}")
set(holders "${CMAKE_MATCH_1}")
string(REGEX REPLACE "^.*\n\n(Permission is)" "\\1" licence "${licence}")
string(REGEX REPLACE "\n+$" "" licence "${licence}")
string(REPLACE "\n\n" "\n.\n" licence "${licence}")
string(REPLACE "\n" "\n " licence "${licence}")
file(WRITE "${folder}/copyright"
  "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
  "Upstream-Name: Perigee\n\nFiles: *\nCopyright: ${holders}\nLicense: Expat\n ${licence}\n")

# SOURCE_DATE_EPOCH, if it is set, is the time here.
set(version "${PERIGEE_VERSION}-${PERIGEE_DEBIAN_REVISION}")
string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)
file(WRITE "${folder}/changelog.Debian" "lua-perigee (${version}) unstable; urgency=medium\n\n"
  "  * Perigee ${PERIGEE_VERSION}; see changelog.gz.\n\n -- ${PERIGEE_MAINTAINER}  ${date}\n")
configure_file(CHANGELOG.md "${folder}/changelog" COPYONLY)
configure_file("${CMAKE_BINARY_DIR}/perigee.1" "${folder}/perigee.1" COPYONLY)
foreach(name changelog changelog.Debian perigee.1)
  execute_process(COMMAND gzip -9nf "${name}" WORKING_DIRECTORY "${folder}"
    COMMAND_ERROR_IS_FATAL ANY)
endforeach()
install(FILES "${folder}/copyright" "${folder}/changelog.gz" "${folder}/changelog.Debian.gz"
  DESTINATION "${PERIGEE_INSTALL_DOC}")
install(FILES "${folder}/perigee.1.gz" DESTINATION "${PERIGEE_INSTALL_MAN}")

set(CPACK_GENERATOR DEB)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS ${CMAKE_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_NAME lua-perigee)
set(CPACK_DEBIAN_PACKAGE_VERSION "${PERIGEE_VERSION}")
set(CPACK_DEBIAN_PACKAGE_RELEASE "${PERIGEE_DEBIAN_REVISION}")
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "${PERIGEE_MAINTAINER}")
set(CPACK_DEBIAN_PACKAGE_SECTION interpreters)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "luajit2 | luajit")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "libnginx-mod-http-lua, libsodium23, redis-server")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "cache for LuaJIT programs, with a C core")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"A thousand callers who miss the same key wait for one load. Entries have a time
to live and tags, survive the process on disk, and are shared by processes
through Redis and by the workers of nginx.

The package has the Lua modules, their C libraries, and the program perigee,
which runs a script as the first task of its event loop.")
include(CPack)
