-- SPDX-License-Identifier: MIT
--- Checks what a caller's mistake must look like: an error raised where the caller stands, whose
-- message names the function, the argument, what came and what was expected.
local assert = require "luassert"

--- Runs `call` (which must raise) and looks for each of `words` in the message. The first word is
-- the function's name, the others are the argument and what came.
return function(call, words)
  local ok, err = pcall(call)
  assert.is_false(ok, "nothing was raised, wanted: " .. table.concat(words, ", "))
  assert.is_string(err)
  local where = debug.getinfo(call, "S").short_src
  assert.is_truthy(err:find(where, 1, true),
    "not raised at the caller: " .. err)
  for i, word in ipairs(words) do
    if i == 1 then
      assert.is_truthy(err:find("[.:]" .. word .. "%f[^%w_]"),
        ("%q does not name the function %s"):format(err, word))
    else
      assert.is_truthy(err:find(word, 1, true), ("%q does not name %s"):format(err, word))
    end
  end
  for _, expectation in ipairs { "must", "expected", "there is no option", "closed", "close it" } do
    if err:find(expectation, 1, true) then
      return
    end
  end
  error(("%q does not say what was expected"):format(err), 0)
end
