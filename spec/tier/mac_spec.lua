-- SPDX-License-Identifier: MIT
local mac = require "perigee.value.mac"

local function hex(bytes)
  return (bytes:gsub(".", function(char) return ("%02x"):format(char:byte()) end))
end

describe("the code of a secret", function()
  local sign, verify = mac.new("spec", "secret", 1)

  it("is that of BLAKE2b, keyed with BLAKE2b of the secret", function()
    -- Python: blake2b(b"text", digest_size=32, key=blake2b(b"secret", digest_size=32).digest())
    local known = "61766f39a631978c903681ac49ecc735dca8f85a8d7799c830154f585685c1e7"
    assert.equal(known, hex(sign("text")))
    assert.equal(mac.SIZE, #sign(""))
  end)

  it("verifies what it signed, and nothing else", function()
    local code = sign("text")
    assert.is_true(verify("text", code))
    assert.is_false(verify("texT", code))
    assert.is_false(verify("text", code:sub(1, -2)))
    assert.is_false(verify("text", ""))
    assert.is_false(verify("text", code:sub(1, -2) .. string.char((code:byte(-1) + 1) % 256)))
    local _, other = mac.new("spec", "Secret", 1)
    assert.is_false(other("text", code))
  end)
end)
