-- create_api_key, version 2: keeps an API key.
--
-- ARGV  2 SHA-256 of the secret  3 the packed key up to `created`  4 the packed key behind it  5 the most keys that are not revoked
-- Returns  {'created', packed key} · {'limit'} · {'none'}: no such account
-- Atomicity: one script. Idempotent by secret hash. Needs memory, so it is refused when Redis is full.

if call('EXISTS', ACCT) == 0 then
  return { 'none' }
end
local live = 0
for _, key in ipairs(read_keys()) do
  if key.hash == ARGV[2] then
    return { 'created', key.text }
  end
  if not key.revoked then
    live = live + 1
  end
end
if live >= tonumber(ARGV[5]) then
  return { 'limit' }
end
local packed = ARGV[3] .. ' ' .. int(NOW) .. ' ' .. ARGV[4]
call('HSET', KEYRING, ARGV[2], packed)
return { 'created', packed }
