-- begin_device, version 1: keeps the sign-in of a device, when there is room among those that are kept and nobody has its codes.
--
-- KEYS  1 user codes by when they are over (a sorted set)  2 the sign-in, by its user code  3 its user code, by the device code
--       4 the event's audit log
-- ARGV  1 now  2 how many may be kept  3 when it is over, in ms  4 in how many ms Redis may drop it  5 the user code  6 the sign-in
--       7 how many events are kept  8 the audit event
-- Returns  'begun' · 'taken': another one has one of its codes · 'full': decide anew
-- Atomicity: one script. Idempotent. Needs memory, so it is refused when Redis is full.

if call('GET', KEYS[3]) == ARGV[5] and call('GET', KEYS[2]) == ARGV[6] then
  return 'begun'
end
call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', NOW))
if call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 'full'
end
if call('EXISTS', KEYS[2], KEYS[3]) > 0 then
  return 'taken'
end
-- First, as in replace.lua.
call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[7], '*', 'e', struct.pack('<d', NOW) .. ARGV[8])
call('ZADD', KEYS[1], ARGV[3], ARGV[5])
call('SET', KEYS[2], ARGV[6], 'PX', ARGV[4])
call('SET', KEYS[3], ARGV[5], 'PX', ARGV[4])
return 'begun'
