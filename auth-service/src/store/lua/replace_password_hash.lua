-- replace_password_hash, version 2: replaces a password's hash if it is still the one that was read.
--
-- ARGV  2 the hash that was read  3 the new hash
-- Returns  1 when it was replaced, else 0
-- Atomicity: one script. Idempotent. Needs memory, so it is refused when Redis is full.

if call('HGET', USER, 'password_hash') ~= ARGV[2] then
  return 0
end
call('HSET', USER, 'password_hash', ARGV[3])
return 1
