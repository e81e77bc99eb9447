-- extend, version 2: moves a hold's expiry to now + its life, never back, and records usage.
--
-- ARGV  2 hold id  3 attempt id  4 input tokens  5 output tokens  6 '1' when estimated
-- Returns  {'extended', expiry in ms} · {'resolved'} · {'none'}
-- Atomicity: one script. Idempotent but for the clock. Works when Redis is full.

if not load_account() then
  return { 'none' }
end
sweep()
local id = ARGV[2]
local text = read_hold(id)
if not text then
  return commit({ 'none' })
end
local h = unpack_hold(text)
if h.state or h.attempt ~= ARGV[3] then
  return commit({ 'resolved' })
end
h.used_in = math.max(h.used_in, math.min(tonumber(ARGV[4]), h.max_in))
h.used_out = math.max(h.used_out, math.min(tonumber(ARGV[5]), h.max_out))
h.estimated = ARGV[6]
h.expires, h.in_due = math.max(h.expires, NOW + HOLD_TTL), true
write_hold(id, pack_open(h))
put('ZADD', DUE, int(h.expires), id)
-- next_due is a lower bound: later is not less.
return commit({ 'extended', int(h.expires) })
