-- move, version 3: one or more compare-and-moves on accounts. Each compares what its decision was made from. When all of it is still so, it
-- moves credits and replaces a record. Else it writes nothing and answers what it found.
--
-- KEYS  two of each move's account: acct and due. The others are named here (`…{account}:log`, and `…{user}:acct` of a member of an
--       organization): each key costs every call.
-- ARGV  1 now; then four to six of each move:
--       1 numbers, as MOVE has them:
--         state          the record's new state, or what to do instead: READ, or FORGET what is to be forgotten
--         swept          1: due holds are no obstacle
--         expected       what must be there: NOTHING; an OPEN_HOLD on the same terms; 2, the same with no more tokens recorded; EXACTLY a
--                        record
--         extra_kind     what argument 4 is: a ledger ENTRY, or a KEY or a USER whose rights are answered with what is found
--         is_refund      1: it takes one of the account's refunds
--         is_shared      1: the account is an organization's, and argument 6 says more
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
--       6 of an organization's account (SHARE): whose hold it is; the rights version that their own account must have (zeros: any); where
--         the month begins and ends that the time must be in, when credits move; the most that they may hold and have spent in it, when
--         more is held
-- Returns  now, and for each move
--          the counters, and the record's head unless its expiry is a new hold's: moved
--          {counters, record, key, session, member, due, place}: what was found, with the first BATCH + 1 due holds as id, record, …
--          place: of a member of an organization, {membership, the own account's rights version, usage}
-- Atomicity: one script; moves happen in their order, each by itself. It is loaded three times (`scripts.rs`): for what needs room, for
-- what works when Redis is full, and for what only reads.
-- It makes no functions, which would cost every run about a microsecond, and gives ZADD texts: Redis takes long to print a number.

local MOVE, READ, FORGET = '<BBBBBBHc8ddddddI4I4', 254, 255
local SHARE, USAGE, USAGE_SIZE = '<c16c8ddd', '<Bddd', 25
local NOTHING, OPEN_HOLD, EXACTLY = 0, 1, 3
local ENTRY, KEY, USER = 1, 2, 3
local ANY = '\0\0\0\0\0\0\0\0'
local NEW_EXPIRY = NOW + HOLD_TTL
local answers, at = { NOW }, 2
for i = 1, #KEYS / 2 do
  local acct, due = KEYS[2 * i - 1], KEYS[2 * i]
  local state, swept, expected, extra_kind, is_refund, is_shared, terms_size, rights, good_until, most, credits, charge, grant, charged,
    used_in, used_out = unpack_struct(MOVE, ARGV[at])
  local id, body, extra, exact, share, who, usage = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 4
  if expected == EXACTLY or state == GRANT then
    exact, at = ARGV[at], at + 1
  end
  if is_shared == 1 then
    share, at = ARGV[at], at + 1
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
    if fits and share then
      local home, month, month_end, cap
      who, home, month, month_end, cap = unpack_struct(SHARE, share)
      if home ~= ANY then
        local of_home = call('HGET', sub(acct, 1, -23) .. who .. '}:acct', 'counters')
        fits = of_home and #of_home == COUNTERS_SIZE and sub(of_home, COUNTERS_SIZE - 7) == home
      end
      if fits and (more_held ~= 0 or charge ~= 0) then
        local usage_version, used_month, used, used_held = VERSION, month, 0, 0
        local found = call('HGET', sub(acct, 1, -5) .. 'usage', who)
        if found then
          fits = #found == USAGE_SIZE
          if fits then
            usage_version, used_month, used, used_held = unpack_struct(USAGE, found)
          end
        end
        -- As `month.rs` says: of an earlier month nothing counts, and a later one means that the clock went back.
        used, used_held = (used_month < month and 0 or used) + charge, used_held + more_held
        fits = fits and usage_version == VERSION and month <= NOW and NOW < month_end and used_held >= 0
          and (more_held <= 0 or used + used_held <= cap)
        usage = pack(USAGE, VERSION, month, used, used_held)
      end
    end
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
    if usage then
      call('HSET', sub(acct, 1, -5) .. 'usage', who, usage)
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
    local account, key, session, member, place, holds = sub(acct, 1, -5), false, false, false, false, {}
    who = share and sub(share, 1, 16)
    if extra_kind == KEY then
      key = call('HGET', account .. 'keys', extra)
      who = key and sub(key, 1, 16)
    elseif extra_kind == USER then
      who = sub(extra, 1, 16)
    end
    if who then
      -- A user's state and sessions lie in their own account, whichever they ask.
      local own = account
      if who ~= sub(acct, -22, -7) then
        own = sub(acct, 1, -23) .. who .. '}:'
        local of_home = call('HGET', own .. 'acct', 'counters')
        place = {
          call('HGET', account .. 'members', who),
          of_home and sub(of_home, COUNTERS_SIZE - 7),
          call('HGET', account .. 'usage', who),
        }
      end
      session = extra_kind == USER and #extra > 16 and call('HGET', own .. 'sessions', sub(extra, 17))
      member = call('HGET', own .. 'members', who)
    end
    if is_due then
      local ids = call('ZRANGEBYSCORE', due, '-inf', NOW, 'LIMIT', 0, BATCH + 1)
      local records = call('HMGET', acct, unpack(ids))
      for j = 1, #ids do
        holds[2 * j - 1], holds[2 * j] = ids[j], records[j]
      end
    end
    answers[i + 1] = { counters, record, key, session, member, holds, place }
  end
end
return answers
