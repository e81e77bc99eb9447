-- settle, version 1: resolves a hold, or charges what is still due after its expiry.
--
-- ARGV  5 hold id  6 attempt id  7 outcome: c completed, x cancelled, f upstream failed, n nothing generated
--       8 input tokens  9 output tokens  10 '1' when estimated
-- Returns  {'settled', resolved hold} · {'superseded'} · {'none'}
-- Atomicity: one script. Idempotent: the first answer is the answer, for as long as the request is remembered. Works when Redis is full.

if not load_account() then
  return { 'none' }
end
sweep()
local id, outcome = ARGV[5], ARGV[7]

-- Puts the usage into the hold, clamped to what it pays for, and answers what it costs: never more than was held.
local function due(h)
  if outcome == 'n' then
    return 0
  end
  h.used_in, h.used_out = math.min(tonumber(ARGV[8]), h.max_in), math.min(tonumber(ARGV[9]), h.max_out)
  h.estimated = ARGV[10]
  return math.min(price_of(h, h.used_in, h.used_out), h.held)
end

local open = read_open(id)
if open then
  local h = unpack_open(open)
  if h.attempt ~= ARGV[6] then
    return commit({ 'superseded' })
  end
  local charged = due(h)
  if outcome == 'n' then
    h.used_in, h.used_out, h.estimated = 0, 0, '0'
  end
  return commit({ 'settled', resolve(id, h, outcome == 'n' and 'r' or 's', outcome, charged) })
end

local done = read_done(id)
if not done then
  return commit({ 'none' })
end
local h = unpack_done(done)
if h.attempt ~= ARGV[6] then
  return commit({ 'superseded' })
end
if h.state ~= 'e' then
  return commit({ 'settled', done })
end
-- Late: what is still due, at most what is available. Nothing generated leaves the usage that was charged for at the expiry.
local missing = math.max(0, due(h) - h.charged)
local additional = math.min(missing, acct.available)
acct.available = acct.available - additional
acct.spent = acct.spent + additional
h.charged, h.uncollected = h.charged + additional, missing - additional
return commit({ 'settled', remember(id, h, 'l', outcome, additional) })
