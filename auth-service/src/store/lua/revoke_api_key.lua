-- revoke_api_key, version 1: revokes a key, and drops the oldest revoked ones above a bound.
--
-- ARGV  5 key id  6 the most revoked keys that are kept to be listed
-- Returns  {'revoked', packed key} · {'none'}
-- Atomicity: one script. Idempotent: the first revocation's time stays. Works when Redis is full.

local found
local revoked = {}
for _, key in ipairs(read_keys()) do
  if key.id == ARGV[5] then
    found = key
  end
  if key.revoked then
    revoked[#revoked + 1] = key
  end
end
if not found then
  return { 'none' }
end
if found.revoked then
  return { 'revoked', found.text }
end
local head, tail = string.match(found.text, '^(1 %S+ %S+ %S+ %d+ %S+) %- (.*)$')
if not head then
  corrupt('an API key can not be read')
end
found.text, found.revoked = head .. ' ' .. int(NOW) .. ' ' .. tail, NOW
revoked[#revoked + 1] = found
-- Newest first: by revocation, then by id, so that both stores keep the same.
table.sort(revoked, function(a, b)
  if a.revoked ~= b.revoked then
    return a.revoked > b.revoked
  end
  return a.id > b.id
end)
redis.call('HSET', KEYRING, found.hash, found.text)
for i = tonumber(ARGV[6]) + 1, #revoked do
  redis.call('HDEL', KEYRING, revoked[i].hash)
end
return { 'revoked', found.text }
