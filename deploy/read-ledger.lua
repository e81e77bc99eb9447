-- Reads all credits of a store as they are on disk, and checks that they add up: scripts/backup and scripts/restore run it on a copy, since
-- nothing else runs meanwhile. It knows the layout of auth-service/src/store/redis/lua/account.lua.
--
-- Returns  one line: what there is; or an error that names the first account whose figures contradict its ledger

local unpack_struct = struct.unpack
local accounts, entries, available, held, spent, latest = 0, 0, 0, 0, 0, 0
local cursor = '0'
repeat
  local step = redis.call('SCAN', cursor, 'MATCH', '*:acct', 'COUNT', 1000)
  cursor = step[1]
  for _, acct in ipairs(step[2]) do
    local counters = redis.call('HGET', acct, 'counters')
    if not counters or #counters ~= 105 then
      return redis.error_reply('WRONG ' .. acct .. ' has no counters that can be read')
    end
    local version, a, h, s, lapsed, granted, _, _, logged = unpack_struct('<Bdddddddd', counters)
    if version ~= 1 or granted ~= a + h + s + lapsed then
      return redis.error_reply('WRONG ' .. acct .. ': granted is not available + held + spent + lapsed')
    end
    local credits, read = 0, 0
    for _, entry in ipairs(redis.call('XRANGE', string.sub(acct, 1, -5) .. 'log', '-', '+')) do
      local _, moved, _, at = unpack_struct('<Bddd', entry[2][2])
      credits, read, latest = credits + moved, read + 1, math.max(latest, at)
    end
    if read ~= logged then
      return redis.error_reply('WRONG ' .. acct .. ': its ledger has ' .. read .. ' entries of ' .. logged)
    end
    if credits ~= granted - s then
      return redis.error_reply('WRONG ' .. acct .. ': its ledger adds up to ' .. credits)
    end
    accounts, entries, available, held, spent = accounts + 1, entries + read, available + a, held + h, spent + s
  end
until cursor == '0'
return string.format('accounts=%d entries=%d available=%d held=%d spent=%d latest_ms=%d', accounts, entries, available, held, spent, latest)
