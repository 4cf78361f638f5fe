-- SPDX-License-Identifier: MIT
-- The answers of a language model: slow, paid for by the token, and worth keeping where the same
-- question has the same answer. Where a line is indented, the model was really asked.
--
--     luajit examples/13-inference.lua
local perigee = require "perigee"

-- The model: think of a web service, asked by perigee.http.request --------------------------------

local revisions = { small = 1, large = 1 } -- of its models
local trouble                              -- what goes wrong with the next call

local function words_of(text) return select(2, text:gsub("%S+", "")) end

local function ask_model(request)
  local model = ("%s %d"):format(request.model, revisions[request.model])
  print(("    %s reads %q"):format(model, request.prompt))
  perigee.sleep(0.01)
  local is_cut = trouble == "cut"
  if trouble == "down" then return nil, "the model does not answer" end
  local text = ("%s says: %s"):format(model, request.prompt:upper())
  return { text = is_cut and text:sub(1, 9) or text, is_complete = not is_cut,
    tokens = words_of(request.prompt) + words_of(text) }
end

local function ask_for_vectors(model, texts)
  print(("    %s makes vectors of %d texts"):format(model, #texts))
  perigee.sleep(0.01)
  local vectors = {}
  for i, text in ipairs(texts) do vectors[i] = { #text, words_of(text) } end
  return vectors
end

-- Answers -----------------------------------------------------------------------------------------

local answers = perigee.new {
  name = "answers",
  default_ttl = 24 * 3600,
  maxsize = math.huge,
  maxweight = 64 * 2 ^ 20, -- bytes: long answers take the room of many short ones
  weigh = function(key, answer) return #key + #answer.text end,
}

local tokens = { paid = 0, saved = 0 }

local DEFAULTS = { temperature = 0, max_tokens = 256 }

-- Of two requests that mean the same, one may have left out what the other has said.
local function in_full(request)
  local full = {}
  for name, value in pairs(DEFAULTS) do full[name] = value end
  for name, value in pairs(request) do full[name] = value end
  return full
end

-- Returns an answer, or nil and why not; what was cut off is handed out, but not kept.
local function load_answer(request)
  local answer, err = ask_model(request)
  if not answer then return nil, err end -- an error is never kept
  tokens.paid = tokens.paid + answer.tokens
  return answer, nil, { tags = { { "model", request.model } }, cache = answer.is_complete }
end

-- An answer, or nil and why not, and where it came from.
local function complete(request)
  request = in_full(request)
  -- Above zero the model draws lots: who asks twice wants two answers.
  if request.temperature > 0 then
    local answer, err = load_answer(request)
    return answer, err, "not cached"
  end
  -- Everything that the answer depends on is in the key, in whatever order it was written.
  local key = perigee.key("answer", request)
  local answer, err, source = answers:get(key, function() return load_answer(request) end)
  if answer and source ~= "load" then tokens.saved = tokens.saved + answer.tokens end
  return answer, err, source
end

-- Vectors -----------------------------------------------------------------------------------------

local VECTOR_MODEL = "vectors-1"

local vectors = perigee.new {
  name = "vectors",
  maxsize = math.huge,
  maxweight = 256 * 2 ^ 20,
  weigh = function(text, vector) return #text + 8 * #vector end,
  batch_window_ms = 5, max_batch_size = 64, -- one call of the model for up to 64 texts
}

local by_batch = {
  batch_loader = function(texts)
    return perigee.aligned(ask_for_vectors(VECTOR_MODEL, texts), #texts)
  end,
}

local function vector_of(text) return vectors:get(text, by_batch) end

-- What it does ------------------------------------------------------------------------------------

local function show(request)
  local answer, err, source = complete(request)
  print(("%s (%s)"):format(answer and answer.text or err, source))
end

local function in_scene(title, scene)
  print(title)
  scene()
  print ""
end

local QUESTION = { model = "small", prompt = "what is a cache" }

perigee.run(function()
  in_scene("the same question, however it is written:", function()
    show(QUESTION)
    show { prompt = "what is a cache", max_tokens = 256, temperature = 0, model = "small" }
    show { model = "small", prompt = "what is a cache", max_tokens = 16 } -- another question
  end)

  in_scene("with a temperature, each answer is another one:", function()
    for _ = 1, 2 do show { model = "small", prompt = "tell a joke", temperature = 0.8 } end
  end)

  in_scene("twenty who ask at once:", function()
    local jobs = {}
    for i = 1, 20 do
      jobs[i] = function() return complete { model = "small", prompt = "and a herd" } end
    end
    print(#perigee.gather(jobs) .. " answers")
  end)

  in_scene("what fails, or is cut off, is not kept:", function()
    for _, what in ipairs { "down", "cut", "nothing", "nothing" } do
      trouble = what
      show { model = "small", prompt = "are you there" }
    end
  end)

  in_scene("a new model forgets what the old one said, and no other's answers:", function()
    show { model = "large", prompt = "what is a tag" }
    revisions.small = 2
    answers:invalidate_tags { "model", "small" } -- nor is kept what the old one is still saying
    show(QUESTION)
    show { model = "large", prompt = "what is a tag" }
  end)

  in_scene("vectors of ten texts, asked for one by one:", function()
    local jobs = {}
    for i = 1, 10 do
      jobs[i] = function() return vector_of("text " .. i % 5) end
    end
    print(#perigee.gather(jobs) .. " vectors")
    print(#vector_of "text 1" .. " numbers in one that was there")
  end)

  print(("%d tokens were paid for, %d were not"):format(tokens.paid, tokens.saved))
end)
