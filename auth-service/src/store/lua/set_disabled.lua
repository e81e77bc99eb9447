-- set_disabled, version 2: disables or enables a user in their record and in their own account's row, which is what check reads.
--
-- ARGV  2 user id  3 '1' to disable, '0' to enable
-- Returns  1, or 0 when there is no such user
-- Atomicity: one script. Idempotent: what is so already changes nothing. Works when Redis is full.

local raw = call('HMGET', USER, 'role', 'disabled', 'created_at_ms')
if not raw[3] then
  return 0
end
if not raw[1] or not raw[2] then
  corrupt('a user has no role, or is neither enabled nor disabled')
end
if raw[2] == ARGV[3] then
  return 1
end
-- Now, also when that is earlier than before: a clock that jumped ahead must not shut a user out until the time comes.
call('HSET', MEMBERS, ARGV[2], '1 ' .. raw[1] .. ' ' .. (ARGV[3] == '1' and 'd' or 'e') .. ' ' .. int(NOW))
call('HSET', USER, 'disabled', ARGV[3], 'valid_from', int(NOW))
call('HINCRBY', ACCT, 'access', 1)
return 1
