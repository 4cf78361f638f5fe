-- SPDX-License-Identifier: MIT
std = "luajit"
max_line_length = 100
self = false -- an unused `self` is part of the method's contract
ignore = { "582", "581" } -- `not (x >= 0)` is how a NaN is caught
exclude_files = { "build/**", "build.luarocks/**" }
files["spec"] = { std = "+busted" }
files["library"] = { unused_args = false, ignore = { "241" } } -- declarations only
