-- SPDX-License-Identifier: MIT

--- A keyed hash that says whether bytes were written by somebody who knows the secret: BLAKE2b
-- with a key, from libsodium, which is loaded only when there is a secret.
-- @module perigee.value.mac

local ffi = require "ffi"

local lib = require "perigee.lib"

local _M = {}

--- Bytes of a code.
_M.SIZE = 32

local DECLARATIONS = [[
  int sodium_init(void);
  int sodium_memcmp(const void *one, const void *other, size_t length);
  int crypto_generichash(unsigned char *out, size_t outlen, const unsigned char *in,
                         unsigned long long inlen, const unsigned char *key, size_t keylen);
]]

local sodium

local function load_sodium(where, level)
  sodium = sodium or lib.foreign(DECLARATIONS, { "libsodium.so.23", "sodium" })
  if sodium and sodium.sodium_init() >= 0 then return sodium end
  error(where .. ": option \"secret\" needs libsodium (Debian: libsodium23)", level + 1)
end

--- Makes the two functions of a secret.
-- @tparam string where the function that got the option
-- @tparam string secret any bytes
-- @tparam number level as for `error`, counted from the caller
-- @treturn function `sign(bytes)` -> the code, `SIZE` bytes
-- @treturn function `verify(bytes, code)` -> boolean; takes the same time whatever differs
-- @raise when libsodium is missing
function _M.new(where, secret, level)
  local library = load_sodium(where, level + 1)
  local key = ffi.new("unsigned char[?]", _M.SIZE)
  library.crypto_generichash(key, _M.SIZE, secret, #secret, nil, 0)
  local function sign(bytes)
    local code = ffi.new("unsigned char[?]", _M.SIZE)
    library.crypto_generichash(code, _M.SIZE, bytes, #bytes, key, _M.SIZE)
    return ffi.string(code, _M.SIZE)
  end
  local function verify(bytes, code)
    return #code == _M.SIZE and library.sodium_memcmp(sign(bytes), code, _M.SIZE) == 0
  end
  return sign, verify
end

return _M
