-- SPDX-License-Identifier: MIT
local ffi = require "ffi"
local histogram = require "perigee.metrics.histogram"

local BOUNDS = histogram.BOUNDS

local function of(events)
  local one = histogram.new()
  for _, seconds in ipairs(events) do histogram.observe(one, seconds) end
  return one
end

local function bucket_of(seconds)
  local one = of { seconds }
  for i = 1, #BOUNDS do
    if one.counts[i - 1] == 1 then return i end
  end
end

describe("a histogram of durations", function()
  it("has buckets whose bounds ascend, and one without a bound", function()
    assert.equal(15, #BOUNDS)
    assert.equal(0.0005, BOUNDS[1])
    assert.equal(10, BOUNDS[14])
    assert.equal(math.huge, BOUNDS[15])
    for i = 2, 15 do assert.is_true(BOUNDS[i] > BOUNDS[i - 1]) end
  end)

  it("counts an event in the first bucket whose bound it does not exceed", function()
    for i = 1, 14 do
      assert.equal(i, bucket_of(BOUNDS[i]))
      assert.equal(i, bucket_of(BOUNDS[i] * 0.999))
      assert.equal(i + 1, bucket_of(BOUNDS[i] * 1.001))
    end
    assert.equal(15, bucket_of(math.huge))
  end)

  it("adds up what the events took", function()
    local one = of { 0.25, 0, 4, 0.5 }
    assert.equal(4.75, one.sum)
    assert.equal(4, histogram.count(one))
  end)

  it("takes less than no time, and what is no number, for no time", function()
    local one = of { -1, 0 / 0, -0.0 }
    assert.equal(0, one.sum)
    assert.equal(3, one.counts[0])
  end)

  it("is empty at first", function()
    local one = histogram.new()
    assert.equal(0, histogram.count(one))
    assert.equal(0, one.sum)
    assert.is_nil(histogram.quantile(one, 0.5))
  end)

  it("can be added to another", function()
    local sum = histogram.add(of { 0.1, 20 }, of { 0.1, 0.002 })
    assert.same(histogram.list(of { 0.1, 0.1, 0.002, 20 }), histogram.list(sum))
  end)

  it("travels as a list of numbers", function()
    local one = of { 0.003, 0.003, 0.7, 11 }
    local back = histogram.read(histogram.list(one))
    assert.equal(ffi.string(one, ffi.sizeof(one)), ffi.string(back, ffi.sizeof(back)))
  end)

  it("is not read from what is none", function()
    local good = histogram.list(of { 1 })
    local function with(i, value)
      local list = { unpack(good) }
      list[i] = value
      return list
    end
    assert.is_truthy(histogram.read(good))
    for _, wrong in ipairs { "text", 1, {}, { 1 }, with(17, 0), with(16, nil), with(1, -1),
      with(1, 0 / 0), with(3, math.huge), with(3, "1"), with(1, {}) } do
      assert.is_nil(histogram.read(wrong))
    end
    assert.is_nil(histogram.read(nil))
  end)
end)

describe("the estimate of a quantile", function()
  it("lies in the bucket in which the quantile is", function()
    math.randomseed(7)
    for _ = 1, 200 do
      local events = {}
      for i = 1, math.random(300) do events[i] = 10 ^ (math.random() * 5 - 4) end
      table.sort(events)
      local one = of(events)
      for _, q in ipairs { 0.01, 0.5, 0.9, 0.95, 0.99, 1 } do
        local exact = events[math.max(1, math.ceil(q * #events))]
        assert.equal(bucket_of(exact), bucket_of(histogram.quantile(one, q)))
      end
    end
  end)

  it("takes the events of a bucket to be spread evenly", function()
    local one = of { 0.3, 0.3, 0.3, 0.3 } -- between 0.25 and 0.5
    assert.equal(0.375, histogram.quantile(one, 0.5))
    assert.equal(0.5, histogram.quantile(one, 1))
    assert.equal(0.25, histogram.quantile(one, 0))
  end)

  it("is the last bound for what is beyond", function()
    assert.equal(10, histogram.quantile(of { 60 }, 0.5))
  end)
end)
