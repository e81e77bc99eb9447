-- create_api_key, version 3: keeps an API key, and drops the oldest ones that are past their time above a bound.
--
-- ARGV  2 SHA-256 of the secret  3 the packed key up to `created`  4 the packed key behind it  5 the most keys that are neither revoked nor
--       past their time, and the most of the latter that are kept to be listed
-- Returns  {'created', packed key} · {'limit'} · {'none'}: no such account
-- Atomicity: one script. Idempotent by secret hash. Needs memory, so it is refused when Redis is full.

if call('EXISTS', ACCT) == 0 then
  return { 'none' }
end
local live, ended = 0, {}
for _, key in ipairs(read_keys()) do
  if key.hash == ARGV[2] then
    return { 'created', key.text }
  end
  if not key.revoked then
    if key.expires and key.expires <= NOW then
      ended[#ended + 1] = key
    else
      live = live + 1
    end
  end
end
if live >= tonumber(ARGV[5]) then
  return { 'limit' }
end
local packed = ARGV[3] .. ' ' .. int(NOW) .. ' ' .. ARGV[4]
call('HSET', KEYRING, ARGV[2], packed)
-- Newest first: by their end, then by id, so that both stores keep the same.
table.sort(ended, function(a, b)
  if a.expires ~= b.expires then
    return a.expires > b.expires
  end
  return a.id > b.id
end)
for i = tonumber(ARGV[5]) + 1, #ended do
  call('HDEL', KEYRING, ended[i].hash)
end
return { 'created', packed }
