-- set_disabled, version 1: disables or enables a user in their record and in their own account's row, which is what check reads.
--
-- ARGV  5 user id  6 '1' to disable, '0' to enable
-- Returns  1, or 0 when there is no such user
-- Atomicity: one script. Idempotent, but that disabling again moves the time from which tokens are valid. Works when Redis is full.

local raw = redis.call('HMGET', USER, 'role', 'valid_from', 'created_at_ms')
if not raw[3] then
  return 0
end
local valid_from = tonumber(raw[2] or nil)
if not raw[1] or not valid_from then
  corrupt('a user has no role or no time from which tokens are valid')
end
if ARGV[6] == '1' then
  valid_from = math.max(valid_from, NOW)
end
redis.call('HSET', MEMBERS, ARGV[5], '1 ' .. raw[1] .. ' ' .. (ARGV[6] == '1' and 'd' or 'e') .. ' ' .. int(valid_from))
redis.call('HSET', USER, 'disabled', ARGV[6], 'valid_from', int(valid_from))
return 1
