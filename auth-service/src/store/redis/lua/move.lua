-- move, version 1: one or more compare-and-moves on accounts. Each compares what its decision was made from. When all of it is still so, it
-- moves credits and replaces a record. Else it writes nothing and answers what it found.
--
-- KEYS  two of each move's account: acct and due. The others are in the same slot (`…{account}:forget_at`), and are named here: each key
--       costs every call.
-- ARGV  1 now; then seven of each move:
--       1 numbers, as MOVE has them:
--         state          the record's new state, or what to do instead: READ, or FORGET what is to be forgotten
--         swept          1: due holds are no obstacle
--         rights         the rights version that there must be; below 0: any
--         good_until     the time must be before it, in ms
--         most           the most that may be available
--         credits        what an open hold holds
--         charge, grant  added to spent, to granted
--         charged        recorded of what isn't open: charged, all in all
--         used_in, used_out  recorded tokens
--       2 the record's id
--       3 what must be there: '' nothing; `t` an open hold on these terms; `u` the same, with no more tokens recorded than are now;
--         `=` and the record, byte by byte
--       4 terms  5 rest
--       6 what the ledger entry records; '' for none
--       7 whose rights to answer with what is found: `k` and SHA-256 of a key's secret, `t` and a user's id, or ''
-- Returns  now, and for each move
--          the counters and the record's expiry: moved
--          {counters, record, key, member, due}: what was found, with the first BATCH + 1 due holds as id, record, …
-- Atomicity: one script; moves happen in their order, each by itself. It is loaded three times (`scripts.rs`): for what needs room, for
-- what works when Redis is full, and for what only reads.

local MOVE, READ, FORGET = '<BBdddddddI4I4', 254, 255

local function found(acct, due, counters, record, caller, with_due)
  local account, kind, key, member = sub(acct, 1, -5), sub(caller, 1, 1), false, false
  if kind == 'k' then
    key = call('HGET', account .. 'keys', sub(caller, 2))
    member = key and call('HGET', account .. 'members', sub(key, 1, 16))
  elseif kind == 't' then
    member = call('HGET', account .. 'members', sub(caller, 2))
  end
  local holds = {}
  if with_due then
    local ids = call('ZRANGEBYSCORE', due, '-inf', NOW, 'LIMIT', 0, BATCH + 1)
    local records = call('HMGET', acct, unpack(ids))
    for i = 1, #ids do
      holds[2 * i - 1], holds[2 * i] = ids[i], records[i]
    end
  end
  return { counters, record, key, member, holds }
end

-- The first BATCH requests as long as their time is over, or too many are remembered; and a lower bound of the next one's time.
local function to_be_forgotten(key, remembered)
  local ids, listed = {}, call('ZRANGE', key, 0, BATCH - 1, 'WITHSCORES')
  for i = 1, #listed, 2 do
    local time = tonumber(listed[i + 1])
    if time > NOW and remembered - #ids <= MAX_REMEMBERED then
      return ids, time
    end
    ids[#ids + 1] = listed[i]
  end
  -- Not now: the clock may go back.
  return ids, #listed == 2 * BATCH and tonumber(listed[#listed]) or NEVER
end

local function move(acct, due, at)
  local state, swept, rights, good_until, most, credits, charge, grant, charged, used_in, used_out = unpack_struct(MOVE, ARGV[at])
  local id, expected, terms, detail, caller = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 5], ARGV[at + 6]
  local stored = call('HMGET', acct, 'counters', id)
  local counters, record = stored[1], stored[2]
  if not counters or #counters ~= COUNTERS_SIZE or record and #record < HEAD_SIZE then
    return found(acct, due, counters, record, caller)
  end
  local version, available, held, spent, lapsed, granted, next_due, next_forget, entries, open, remembered, rights_version =
    unpack_struct(COUNTERS, counters)
  if version ~= VERSION or available < 0 or held < 0 or spent < 0 or lapsed < 0 or granted ~= available + held + spent + lapsed then
    return found(acct, due, counters, record, caller)
  end
  if next_due <= NOW then
    local first = call('ZRANGE', due, 0, 0, 'WITHSCORES')
    next_due = first[2] and tonumber(first[2]) or NEVER
    if next_due <= NOW and swept == 0 then
      return found(acct, due, counters, record, caller, true)
    end
  end

  local was_open, was_resolved, expires, terms_size, was_in, was_out, was_held = false, false, 0
  if record then
    local was
    version, was, expires, was_held, was_in, was_out, terms_size = unpack_struct(HEAD, record)
    if version ~= VERSION then
      return found(acct, due, counters, record, caller)
    end
    was_open, was_resolved = was == OPEN, was ~= OPEN and was ~= GRANT
  end
  local is_open, is_resolved = state == OPEN, state > OPEN and state < GRANT

  if state ~= FORGET then
    local kind, matches = sub(expected, 1, 1), false
    if state == READ then
      matches = false
    elseif kind == '' then
      matches = not record
    elseif kind == '=' then
      matches = record == sub(expected, 2)
    else
      matches = was_open and sub(record, HEAD_SIZE + 1, HEAD_SIZE + terms_size) == terms
        and (kind == 't' or was_in <= used_in and was_out <= used_out)
    end
    if not matches or rights >= 0 and rights ~= rights_version or NOW >= good_until or available > most then
      return found(acct, due, counters, record, caller)
    end
    local more_held = (is_open and credits or 0) - (was_open and was_held or 0)
    available, held, spent, granted = available + grant - charge - more_held, held + more_held, spent + charge, granted + grant
    if available < 0 or held < 0 or charge < 0 or granted > MAX_CREDITS or is_open and not was_open and open >= MAX_OPEN then
      return found(acct, due, counters, record, caller)
    end
  end

  -- First, because it refuses a number that is not above the last: nothing has been written then.
  if detail ~= '' then
    entries = entries + 1
    call('XADD', sub(acct, 1, -5) .. 'log', entries .. '-0', 'f', pack(ENTRY, VERSION, grant - charge, available, NOW), 'd', detail)
  end
  local forget = (was_resolved or state > OPEN) and sub(acct, 1, -5) .. 'forget_at'
  if was_open then
    open = open - 1
  elseif was_resolved then
    remembered = remembered - 1
  end
  if is_open then
    open, expires = open + 1, max(was_open and expires or 0, NOW + HOLD_TTL)
    next_due = min(next_due, expires)
    call('ZADD', due, expires, id)
    if was_resolved then
      call('ZREM', forget, id)
    end
  elseif was_open then
    call('ZREM', due, id)
  end
  if is_resolved then
    remembered, next_forget = remembered + 1, min(next_forget, NOW + FORGET_AFTER)
    call('ZADD', forget, NOW + FORGET_AFTER, id)
  end
  local forgotten = {}
  if (is_resolved or state == FORGET) and (next_forget <= NOW or remembered > MAX_REMEMBERED) then
    forgotten, next_forget = to_be_forgotten(forget, remembered)
    remembered = remembered - #forgotten
  end
  counters = pack(COUNTERS, VERSION, available, held, spent, lapsed, granted, next_due, next_forget, entries, open, remembered,
    rights_version)
  if state == FORGET then
    call('HSET', acct, 'counters', counters)
  else
    local head = pack(HEAD, VERSION, state, expires, credits, used_in, used_out, #terms)
    if not is_open then
      head = head .. pack(OUTCOME, charged, available, entries, NOW)
    end
    call('HSET', acct, 'counters', counters, id, head .. terms .. ARGV[at + 4])
  end
  if #forgotten > 0 then
    call('ZREM', forget, unpack(forgotten))
    call('HDEL', acct, unpack(forgotten))
  end
  return counters .. pack('<d', expires)
end

local answers = { NOW }
for i = 1, #KEYS / 2 do
  answers[i + 1] = move(KEYS[2 * i - 1], KEYS[2 * i], 7 * i - 5)
end
return answers
