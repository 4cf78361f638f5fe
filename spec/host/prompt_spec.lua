-- SPDX-License-Identifier: MIT
-- The prompt, spoken to through a pipe.
local host = require "spec.support.host"

local function answers(input, arguments)
  local result = host.run(arguments or { "-i" }, input)
  local answer = result.stdout:gsub(">+ ", "")
  return answer, result.stderr, result.status
end

describe("the prompt", function()
  it("shows what an expression is and runs statements", function()
    assert.equal("3\nnil\ttwo\n5\n\n", (answers "1 + 2\nnil, 'two'\nx = 5\n= x\nlocal y = 1\n"))
  end)

  it("goes on to further lines until a statement is complete", function()
    assert.equal("1\n2\n\n", (answers "for i = 1, 2 do\nprint(i)\nend\n"))
  end)

  it("lets what is typed wait, while other tasks go on", function()
    assert.equal("tick\nwaited\n\n", (answers [[
p = require "perigee"
t = p.spawn(function() p.sleep(0.005) print "tick" end)
p.sleep(0.05) print "waited"
]]))
  end)

  it("survives errors, and shows them with a traceback", function()
    local out, err, status = answers "error 'oops'\nerror({})\n)\n'still here'\n"
    assert.equal("still here\n\n", out)
    assert.matches("oops", err, 1, true)
    assert.matches("stack traceback", err, 1, true)
    assert.matches("table value", err, 1, true)
    assert.matches("unexpected symbol near ')'", err, 1, true)
    assert.equal(0, status)
  end)

  it("follows a script, and sees its globals", function()
    assert.equal("42\n\n", (answers("answer\n", { "-i", "-e", "answer = 42" })))
  end)

  it("takes a last line without an end", function()
    assert.equal("7\n\n", (answers "3 + 4"))
  end)

  it("lets tasks go on while nobody types", function()
    local result = host.shell([[
      out=$(mktemp)
      { echo 'io.stdout:setvbuf "no"'
        echo 'p = require "perigee"'
        echo 'p.spawn(function() for i = 1, 3 do p.sleep(0.01) print("tick") end end)'
        i=0; while [ $(grep -c tick $out) -lt 3 ] && [ $i -lt 6000 ]; do
          sleep 0.01; i=$((i + 1))
        done
        echo 'print "typed"'; } | $PERIGEE -i >$out
      cat $out; rm $out
    ]])
    assert.matches("tick\ntick\ntick\n.*typed", result.stdout)
  end)
end)
