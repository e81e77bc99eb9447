-- snapshot, version 2: everything about an account's credits, as it is: not swept.
--
-- Returns  {{available, held, spent, lapsed, granted, open holds, remembered requests}, packed holds of both kinds,
--          ledger entries as XRANGE has them}; or {} when there is no such account
-- Atomicity: one script, which writes nothing. Reads all there is: not for the hot path. Works when Redis is full.

if call('EXISTS', ACCT) == 0 then
  return {}
end
local stored = call('HGET', ACCT, 'figures')
if not stored or #stored ~= FIGURES_SIZE then
  return redis.error_reply('TGCORRUPT the figures of the account can not be read')
end
local version, available, held, spent, lapsed, granted, next_due, _, _, open, remembered = struct.unpack(FIGURES, stored)
if version ~= FIGURES_VERSION then
  return redis.error_reply('TGCORRUPT the figures of the account can not be read')
end
local queued = {}
for _, id in ipairs(call('LRANGE', QUEUE, 0, -1)) do
  queued[id] = true
end
local holds, fields = {}, call('HGETALL', ACCT)
for i = 1, #fields, 2 do
  -- A hold's id has a point in it, as no other field has.
  if string.find(fields[i], '.', 1, true) then
    holds[#holds + 1] = fields[i + 1]
    local letter, expires = string.match(fields[i + 1], '^1([ox]) (%d+) ')
    if letter then
      local found = queued[fields[i]]
      if letter == 'x' then
        found = call('ZSCORE', KEYS[3], fields[i]) == expires
      end
      if not found or tonumber(expires) < next_due then
        return redis.error_reply('TGCORRUPT an open hold is never due')
      end
    end
  end
end
local figures = {}
for i, figure in ipairs({ available, held, spent, lapsed, granted, open, remembered }) do
  figures[i] = format('%d', figure)
end
return { figures, holds, call('XRANGE', KEYS[5], '-', '+') }
