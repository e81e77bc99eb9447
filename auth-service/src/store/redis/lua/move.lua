-- move, version 2: one or more compare-and-moves on accounts. Each compares what its decision was made from. When all of it is still so, it
-- moves credits and replaces a record. Else it writes nothing and answers what it found.
--
-- KEYS  two of each move's account: acct and due. The others are in the same slot (`…{account}:log`), and are named here: each key
--       costs every call. AUDIT_OPERATORS is in a slot of its own.
-- ARGV  1 now; then four or five of each move:
--       1 numbers, as MOVE has them:
--         state          the record's new state, or what to do instead: READ, or FORGET what is to be forgotten
--         swept          1: due holds are no obstacle
--         expected       what must be there: NOTHING; an OPEN_HOLD on the same terms; 2, the same with no more tokens recorded; EXACTLY a
--                        record
--         extra_kind     what argument 4 is: a ledger ENTRY, or a KEY or a USER whose rights are answered with what is found
--         is_refund      1: it takes one of the account's refunds
--         terms_size     bytes of the terms, with which argument 3 begins
--         rights         the rights version that there must be; zeros: any
--         good_until     the time must be before it, in ms
--         most           the most that may be available
--         credits        what an open hold holds
--         charge, grant  added to spent, to granted
--         charged        recorded of what isn't open: charged, all in all
--         used_in, used_out  recorded tokens
--       2 the record's id  3 what follows the head in it: terms and rest
--       4 what the ledger entry records, SHA-256 of the key's secret, or the user's id and, behind it, the session's
--       5 the record that must be there, byte by byte, when it is EXACTLY one; the audit event of a GRANT
-- Returns  now, and for each move
--          the counters, and the record's head unless its expiry is a new hold's: moved
--          {counters, record, key, session, member, due}: what was found, with the first BATCH + 1 due holds as id, record, …
-- Atomicity: one script; moves happen in their order, each by itself. It is loaded three times (`scripts.rs`): for what needs room, for
-- what works when Redis is full, and for what only reads.
-- It makes no functions, which would cost every run about a microsecond, and gives ZADD texts: Redis takes long to print a number.

local MOVE, READ, FORGET = '<BBBBBHc8ddddddI4I4', 254, 255
local NOTHING, OPEN_HOLD, EXACTLY = 0, 1, 3
local ENTRY, KEY, USER = 1, 2, 3
local ANY = '\0\0\0\0\0\0\0\0'
local NEW_EXPIRY = NOW + HOLD_TTL
local answers, at = { NOW }, 2
for i = 1, #KEYS / 2 do
  local acct, due = KEYS[2 * i - 1], KEYS[2 * i]
  local state, swept, expected, extra_kind, is_refund, terms_size, rights, good_until, most, credits, charge, grant, charged, used_in,
    used_out = unpack_struct(MOVE, ARGV[at])
  local id, body, extra, exact = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 4
  if expected == EXACTLY or state == GRANT then
    exact, at = ARGV[at], at + 1
  end
  local stored = call('HMGET', acct, 'counters', id)
  local counters, record = stored[1], stored[2]

  local fits, is_due = false, false
  local version, available, held, spent, lapsed, granted, next_due, next_forget, entries, open, paid, free, refunds_until, rights_version
  if counters and #counters == COUNTERS_SIZE and (not record or #record >= HEAD_SIZE) then
    version, available, held, spent, lapsed, granted, next_due, next_forget, entries, open, paid, free, refunds_until, rights_version =
      unpack_struct(COUNTERS, counters)
    -- What contradicts itself is left to Rust, which says so to those who may know.
    fits = version == VERSION and available >= 0 and held >= 0 and spent >= 0 and lapsed >= 0
      and granted == available + held + spent + lapsed
  end
  if fits and next_due <= NOW then
    -- It is a lower bound: what was due first may be settled since.
    local first = call('ZRANGE', due, 0, 0, 'WITHSCORES')
    next_due = first[2] and tonumber(first[2]) or NEVER
    is_due = next_due <= NOW and swept == 0
    fits = not is_due
  end
  local was, was_open, expires, was_held, was_in, was_out, was_size = false, false, 0
  if fits and record then
    version, was, expires, was_held, was_in, was_out, was_size = unpack_struct(HEAD, record)
    was_open, fits = was == OPEN, version == VERSION
  end
  local is_open = state == OPEN
  if fits and state ~= FORGET then
    if expected == NOTHING then
      fits = not record and state ~= READ
    elseif expected == EXACTLY then
      fits = record == exact
    else
      fits = was_open and was_size == terms_size and find(record, sub(body, 1, terms_size), HEAD_SIZE + 1, true) == HEAD_SIZE + 1
        and (expected == OPEN_HOLD or was_in <= used_in and was_out <= used_out)
    end
    local more_held = (is_open and credits or 0) - (was_open and was_held or 0)
    available, held, spent, granted = available + grant - charge - more_held, held + more_held, spent + charge, granted + grant
    fits = fits and (rights == ANY or rights == rights_version) and NOW < good_until
      and available >= 0 and available + more_held + charge - grant <= most and held >= 0 and charge >= 0 and granted <= MAX_CREDITS
      and not (is_open and not was_open and (open >= MAX_OPEN
        or refunds_until > NOW + REFUNDS_AHEAD and refunds_until <= NOW + REFUNDS_FARTHEST))
  end

  if fits then
    local was_resolved = was and was ~= OPEN and was ~= GRANT
    local is_resolved = state > OPEN and state < GRANT
    local account = state > OPEN and sub(acct, 1, -5)
    -- First, because it refuses a number that is not above the last: nothing has been written then.
    local entry = 0
    if extra_kind == ENTRY then
      entries = entries + 1
      entry = entries
      local figures = pack(ENTRY_FIGURES, VERSION, grant - charge, available, NOW)
      if state == GRANT then
        call('XADD', AUDIT_OPERATORS, 'MAXLEN', '~', MAX_OPERATORS, '*', 'e', pack('<d', NOW) .. exact)
      end
      call('XADD', account .. 'log', entries .. '-0', 'e', figures .. extra)
    end
    if was_open then
      open = open - 1
    elseif was_resolved then
      local was_charged, _, _, was_at = unpack_struct('<dddd', record, HEAD_SIZE + 1)
      local list = was_charged > 0 and 'paid' or 'free'
      if was_charged > 0 then
        paid = paid - 1
      else
        free = free - 1
      end
      -- It was resolved lately, as a rule.
      call('LREM', sub(acct, 1, -5) .. list, -1, pack('<d', was_at) .. id)
      -- If the clock went back, one behind it may be earlier: the lists are looked at with the next resolution.
      next_forget = min(next_forget, NOW)
    end
    if is_open then
      open, expires = open + 1, was_open and expires > NEW_EXPIRY and expires or NEW_EXPIRY
      next_due = expires < next_due and expires or next_due
      call('ZADD', due, format('%d', expires), id)
    elseif was_open then
      call('ZREM', due, id)
    end
    if is_resolved then
      if charged > 0 then
        paid = paid + 1
        call('RPUSH', account .. 'paid', pack('<d', NOW) .. id)
      else
        free = free + 1
        call('RPUSH', account .. 'free', pack('<d', NOW) .. id)
      end
      if is_refund == 1 then
        if refunds_until < NOW or refunds_until > NOW + REFUNDS_FARTHEST then
          refunds_until = NOW
        end
        refunds_until = refunds_until + REFUND_EVERY
      end
      next_forget = min(next_forget, NOW + FORGET_AFTER)
    end
    local forgotten = false
    if account and state ~= GRANT and (next_forget <= NOW or paid > MAX_PAID or free > MAX_FREE) then
      -- The first BATCH requests of each list, as long as their time is over, or too many are remembered.
      forgotten, next_forget = {}, NEVER
      for _, name in ipairs({ 'paid', 'free' }) do
        local listed = call('LRANGE', account .. name, 0, BATCH - 1)
        local gone, over = 0, name == 'paid' and paid - MAX_PAID or free - MAX_FREE
        for j = 1, #listed do
          local forget_at = unpack_struct('<d', listed[j]) + FORGET_AFTER
          -- When it is the last one listed, those behind it are no earlier.
          if j == #listed or forget_at > NOW and gone >= over then
            next_forget = min(next_forget, forget_at)
          end
          if forget_at > NOW and gone >= over then
            break
          end
          gone = j
          forgotten[#forgotten + 1] = sub(listed[j], 9)
        end
        if gone > 0 then
          call('LTRIM', account .. name, gone, -1)
        end
        if name == 'paid' then
          paid = paid - gone
        else
          free = free - gone
        end
      end
      if paid == 0 and free == 0 then
        next_forget = NEVER
      end
    end
    counters = pack(COUNTERS, VERSION, available, held, spent, lapsed, granted, next_due, next_forget, entries, open, paid, free,
      refunds_until, rights_version)
    local answer = counters
    if state == FORGET then
      call('HSET', acct, 'counters', counters)
    else
      local head
      if is_open then
        head = pack(HEAD, VERSION, state, expires, credits, used_in, used_out, terms_size)
      else
        head = pack(HEAD_OUTCOME, VERSION, state, expires, credits, used_in, used_out, terms_size, charged, available, entry, NOW)
      end
      call('HSET', acct, 'counters', counters, id, head .. body)
      if not is_open or expires ~= NEW_EXPIRY then
        answer = counters .. head
      end
    end
    if forgotten and #forgotten > 0 then
      call('HDEL', acct, unpack(forgotten))
    end
    answers[i + 1] = answer
  else
    local account, key, session, member, holds = sub(acct, 1, -5), false, false, false, {}
    if extra_kind == KEY then
      key = call('HGET', account .. 'keys', extra)
      member = key and call('HGET', account .. 'members', sub(key, 1, 16))
    elseif extra_kind == USER then
      -- A user's sessions lie in their own account: in another one there are none, and the user is no member.
      session = #extra > 16 and call('HGET', account .. 'sessions', sub(extra, 17))
      member = call('HGET', account .. 'members', sub(extra, 1, 16))
    end
    if is_due then
      local ids = call('ZRANGEBYSCORE', due, '-inf', NOW, 'LIMIT', 0, BATCH + 1)
      local records = call('HMGET', acct, unpack(ids))
      for j = 1, #ids do
        holds[2 * j - 1], holds[2 * j] = ids[j], records[j]
      end
    end
    answers[i + 1] = { counters, record, key, session, member, holds }
  end
end
return answers
