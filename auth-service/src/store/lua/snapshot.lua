-- snapshot, version 2: everything about an account's credits, as it is: not swept.
--
-- Returns  {{available, held, spent, lapsed, granted, open holds, remembered requests}, ids and packed holds of both kinds in turn,
--          ids and expiries of open holds in turn, ledger entries as XRANGE has them}; or {} when there is no such account
-- Atomicity: one script, which writes nothing. Reads all there is: not for the hot path. Works when Redis is full.

if call('EXISTS', ACCT) == 0 then
  return {}
end
local stored = call('HGET', ACCT, 'figures')
if not stored or #stored ~= FIGURES_SIZE then
  return redis.error_reply('TGCORRUPT the figures of the account can not be read')
end
local version, available, held, spent, lapsed, granted, _, _, _, open, remembered = struct.unpack(FIGURES, stored)
if version ~= FIGURES_VERSION then
  return redis.error_reply('TGCORRUPT the figures of the account can not be read')
end
local holds, fields = {}, call('HGETALL', ACCT)
for i = 1, #fields, 2 do
  -- A hold's id has a point in it, as no other field has.
  if string.find(fields[i], '.', 1, true) then
    holds[#holds + 1], holds[#holds + 2] = fields[i], fields[i + 1]
  end
end
local figures = {}
for i, figure in ipairs({ available, held, spent, lapsed, granted, open, remembered }) do
  figures[i] = format('%d', figure)
end
return { figures, holds, call('ZRANGE', DUE, 0, -1, 'WITHSCORES'), call('XRANGE', KEYS[4], '-', '+') }
