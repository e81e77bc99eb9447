-- revoke_api_key, version 2: revokes a key, and drops the oldest revoked ones above a bound.
--
-- ARGV  2 key id  3 the most revoked keys that are kept to be listed
-- Returns  {'revoked', packed key} · {'none'}
-- Atomicity: one script. Idempotent: the first revocation's time stays. Works when Redis is full.

local found
local revoked = {}
for _, key in ipairs(read_keys()) do
  if key.id == ARGV[2] then
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
call('HSET', KEYRING, found.hash, found.text)
for i = tonumber(ARGV[3]) + 1, #revoked do
  call('HDEL', KEYRING, revoked[i].hash)
end
call('HINCRBY', ACCT, 'access', 1)
return { 'revoked', found.text }
