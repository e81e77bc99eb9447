-- extend, version 1: moves a hold's expiry to now + its life, never back, and records usage.
--
-- ARGV  5 hold id  6 attempt id  7 input tokens  8 output tokens  9 '1' when estimated
-- Returns  {'extended', expiry in ms} · {'resolved'} · {'none'}
-- Atomicity: one script. Idempotent but for the clock. Works when Redis is full.

if not load_account() then
  return { 'none' }
end
sweep()
local id = ARGV[5]
local open = read_open(id)
if not open then
  return commit({ read_done(id) and 'resolved' or 'none' })
end
local h = unpack_open(open)
if h.attempt ~= ARGV[6] then
  return commit({ 'resolved' })
end
h.used_in = math.max(h.used_in, math.min(tonumber(ARGV[7]), h.max_in))
h.used_out = math.max(h.used_out, math.min(tonumber(ARGV[8]), h.max_out))
h.estimated = ARGV[9]
h.expires = math.max(h.expires, NOW + HOLD_TTL)
put('HSET', OPEN, id, pack_open(h))
put('ZADD', DUE, int(h.expires), id)
-- next_due is a lower bound: later is not less.
return commit({ 'extended', int(h.expires) })
