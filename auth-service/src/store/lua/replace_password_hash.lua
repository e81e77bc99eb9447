-- replace_password_hash, version 1: replaces a password's hash if it is still the one that was read.
--
-- ARGV  5 the hash that was read  6 the new hash
-- Returns  1 when it was replaced, else 0
-- Atomicity: one script. Idempotent. Needs memory, so it is refused when Redis is full.

if redis.call('HGET', USER, 'password_hash') ~= ARGV[5] then
  return 0
end
redis.call('HSET', USER, 'password_hash', ARGV[6])
return 1
