-- Reads all credits of a store as they are on disk, and checks that they add up: scripts/backup and scripts/restore run it on a copy, since
-- nothing else runs meanwhile. It knows the layout of auth-service/src/store/redis/lua/account.lua.
--
-- Returns  one line: what there is; or an error that names the first account whose figures contradict its ledger

local unpack_struct = struct.unpack

-- The numbers of a Protocol Buffers message that has nothing else, by the numbers of its fields.
local function numbers(bytes)
  local found, read, scale, field = {}, 0, 1, nil
  for at = 1, #bytes do
    local byte = string.byte(bytes, at)
    read, scale = read + byte % 128 * scale, scale * 128
    if byte < 128 then
      if field then
        found[field], field = read, nil
      else
        field = math.floor(read / 8)
      end
      read, scale = 0, 1
    end
  end
  return found
end

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
    -- What was exported and folded: up to which entry, and the credits granted and charged in them.
    local folded = numbers(redis.call('HGET', acct, 'checkpoint') or '')
    local read, credits = folded[2] or 0, (folded[3] or 0) - (folded[4] or 0)
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
