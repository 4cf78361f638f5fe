-- SPDX-License-Identifier: MIT
-- suites: dev host
-- What a finalizer could split that comes by between two instructions: each piece of work is done
-- as often as it has some, and somebody comes by after each; see spec/support/splitting.lua.
local fleet = require "spec.support.fleet"
local read = require("spec.support.files").read

local PATIENCE_S = 120 -- for a program that takes less than a second

-- By what each of them does, and who comes by.
local CASES = {
  numbers = "a cache gets its number; another one is made",
  stores = "a store enters the turns, and has one; another one enters",
  sessions = "sessions open and close; another one opens",
  closing = "calls are made in a session; it is closed",
  writes = "a tool writes; another one begins to",
  told = "a store gives entries up; a load gives what may not be kept",
  reading = "a store takes an entry in; it is read",
  landing = "a load lands; another one begins",
  joining = "a load is joined; it is given up, and another one begins",
  left = "a backup takes the keys that left; one more leaves",
  written = "a key is written while a backup is read; so is another one",
  saving = "a backup is saved; it is saved",
  counting = "a number is counted up; it is counted up",
  deep = "work begins far down the stack; other work begins",
  worlds = "the virtual clock is put in force; a task begins",
  runs = "plain code begins a task and waits for it; a run is begun",
  debts = "a write is owed; what is owed is tried again",
  trips = "a load goes along on a trip that is full then; another one does",
}

describe("nothing is split by who comes by:", function()
  local SPLITTING = read "spec/support/splitting.lua"

  for name, title in pairs(CASES) do
    it(title, function()
      assert.equal("done\n", fleet.output(fleet.start(SPLITTING, name), PATIENCE_S))
    end)
  end
end)
