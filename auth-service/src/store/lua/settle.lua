-- settle, version 2: resolves a hold, or charges what is still due after its expiry.
--
-- ARGV  2 hold id  3 attempt id  4 outcome: c completed, x cancelled, f upstream failed, n nothing generated
--       5 input tokens  6 output tokens  7 '1' when estimated
-- Returns  {'settled', resolved hold} · {'superseded'} · {'none'}
-- Atomicity: one script. Idempotent: the first answer is the answer, for as long as the request is remembered. Works when Redis is full.

if not load_account() then
  return { 'none' }
end
sweep()
local id, outcome = ARGV[2], ARGV[4]

-- Puts the usage into the hold, clamped to what it pays for, and answers what it costs: never more than was held.
local function due(h)
  if outcome == 'n' then
    return 0
  end
  h.used_in, h.used_out = math.min(tonumber(ARGV[5]), h.max_in), math.min(tonumber(ARGV[6]), h.max_out)
  h.estimated = ARGV[7]
  return math.min(price_of(h, h.used_in, h.used_out), h.held)
end

local text = read_hold(id)
if not text then
  return commit({ 'none' })
end
local h = unpack_hold(text)
if h.attempt ~= ARGV[3] then
  return commit({ 'superseded' })
end
if not h.state then
  local charged = due(h)
  if outcome == 'n' then
    h.used_in, h.used_out, h.estimated = 0, 0, '0'
  end
  local resolved = resolve(id, h, outcome == 'n' and 'r' or 's', outcome, charged)
  tidy_queue(id)
  return commit({ 'settled', resolved })
end
if h.state ~= 'e' then
  return commit({ 'settled', text })
end
-- Late: what is still due, at most what is available. Nothing generated leaves the usage that was charged for at the expiry.
local missing = math.max(0, due(h) - h.charged)
local additional = math.min(missing, acct.available)
acct.available = acct.available - additional
acct.spent = acct.spent + additional
h.charged, h.uncollected = h.charged + additional, missing - additional
return commit({ 'settled', remember(id, h, 'l', outcome, additional) })
