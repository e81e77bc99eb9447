-- create_api_key, version 1: keeps an API key.
--
-- ARGV  5 secret hash  6 the packed key up to `created`  7 the packed key behind it  8 the most keys that are not revoked
-- Returns  {'created', packed key} · {'limit'} · {'none'}: no such account
-- Atomicity: one script. Idempotent by secret hash. Needs memory, so it is refused when Redis is full.

if redis.call('EXISTS', ACCT) == 0 then
  return { 'none' }
end
local live = 0
for _, key in ipairs(read_keys()) do
  if key.hash == ARGV[5] then
    return { 'created', key.text }
  end
  if not key.revoked then
    live = live + 1
  end
end
if live >= tonumber(ARGV[8]) then
  return { 'limit' }
end
local packed = ARGV[6] .. ' ' .. int(NOW) .. ' ' .. ARGV[7]
redis.call('HSET', KEYRING, ARGV[5], packed)
return { 'created', packed }
