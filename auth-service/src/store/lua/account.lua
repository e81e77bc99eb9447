-- What scripts on one account share (version 2), behind prelude.lua: the account's figures, the sweep of due holds, the sums of hold.rs, the
-- ledger.
--
-- Atomicity: Redis runs a script alone and does not roll back. So every script reads, computes and checks first; what it wants written
-- is queued by `put`, `write_hold` and `append`, and `commit` checks the balance once more before it writes anything. Contradictions in
-- what is stored end the script with a TGCORRUPT error before the first write (of the request that meets them, in check).
--
-- Numbers are printed by `int` or by %d alone: Lua itself would print 14 digits, and exponents. All stay below 2^53, which a double holds
-- exactly.

local DUE, GC, LOG, MEMBERS, KEYRING, GRANTS, USER = KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
-- The value of next_due and next_gc when nothing is due ever.
local NEVER = 9007199254740991
-- Ids at the head of `queue` that one call looks at when something is due: some more than it resolves, for those that are only to be dropped.
local LOOK = BATCH + 64

local function int(number)
  return format('%d', number)
end

local function corrupt(text)
  error({ err = 'TGCORRUPT ' .. text })
end

-- What is to be written. Ledger entries go first: XADD refuses an id that is not above the last, and then nothing has been written yet.
local log_entries, writes = {}, {}

local function put(...)
  writes[#writes + 1] = { ... }
end

-- The account's figures, and what of them was read.
local acct, was_packed, was_spent

local function check_balance()
  if acct.available < 0 or acct.held < 0 or acct.spent < 0 or acct.lapsed < 0 then
    corrupt('a figure of the account is negative')
  end
  if acct.granted ~= acct.available + acct.held + acct.spent + acct.lapsed then
    corrupt('granted is not available + held + spent + lapsed')
  end
end

-- Reads the figures; false when there is no such account.
local function load_account()
  was_packed = call('HGET', ACCT, 'figures')
  if not was_packed then
    if call('EXISTS', ACCT) == 1 then
      corrupt('the account has no figures')
    end
    return false
  end
  if #was_packed ~= FIGURES_SIZE then
    corrupt('the figures of the account can not be read')
  end
  local a, version = {}
  version, a.available, a.held, a.spent, a.lapsed, a.granted, a.next_due, a.next_gc, a.entries, a.open, a.remembered, a.queued =
    struct.unpack(FIGURES, was_packed)
  if version ~= FIGURES_VERSION then
    corrupt('the figures of the account can not be read')
  end
  acct, was_spent = a, a.spent
  check_balance()
  return true
end

-- What the queued writes have changed already, by hold id: packed text, or false for gone. `fields` are those of acct to be set.
local holds_now, fields = {}, {}

-- A hold as it is now, packed; false when there is none.
local function read_hold(id)
  if holds_now[id] ~= nil then
    return holds_now[id]
  end
  return call('HGET', ACCT, id)
end

local function write_hold(id, text)
  holds_now[id] = text
  fields[#fields + 1] = id
  fields[#fields + 1] = text
end

-- Checks the new figures and writes all that is queued.
local function commit(reply)
  check_balance()
  if acct.spent < was_spent then
    corrupt('spent would fall')
  end
  for i = 1, #log_entries do
    call(unpack(log_entries[i]))
  end
  for i = 1, #writes do
    call(unpack(writes[i]))
  end
  local packed = struct.pack(FIGURES, FIGURES_VERSION, acct.available, acct.held, acct.spent, acct.lapsed, acct.granted, acct.next_due,
    acct.next_gc, acct.entries, acct.open, acct.remembered, acct.queued)
  if #fields > 0 or packed ~= was_packed then
    call('HSET', ACCT, 'figures', packed, unpack(fields))
  end
  return reply
end

-- Holds, packed, under their ids in acct. Separated by single spaces; no field but the last, the model, can hold one. `-` stands for no key.
--   open:     1o (in `queue`) or 1x (in `due`), then: expires held max_out used_in used_out estimated user key TERMS
--   resolved: 1d expires held max_out used_in used_out estimated user key state outcome charged uncollected remaining entry at TERMS
--             state: s settled, r refunded, e expired, l settled late; outcome: c, x cancelled, f failed, n nothing generated, - none
--   TERMS, as Check brought them: request attempt fingerprint per_call per_1k_in per_1k_out max_in model
-- A refunded request that was held again lies aside under `hold id#ledger entry`, until it is forgotten.
local OPEN = '^1[ox] (%d+) (%d+) (%d+) (%d+) (%d+) ([01]) (%S+) (%S+) (.*)$'
local RESOLVED = '^1d (%d+) (%d+) (%d+) (%d+) (%d+) ([01]) (%S+) (%S+) ([srel]) ([cxfn-]) (%d+) (%d+) %d+ (%d+) %d+ (.*)$'
-- What is read of a hold that is only asked for, whose text begins behind the expiry: max_out, TERMS, and the model in them.
local NEW_HOLD = '^%d+ (%d+) 0 0 0 %S+ %S+ (%S+ %S+ %S* %d+ %d+ %d+ %d+ (.*))$'
local TERMS = '^(%S+) (%S+) (%S*) (%d+) (%d+) (%d+) (%d+) (.*)$'

local function read_terms(h, terms)
  local pc, pi, po, mi
  h.terms = terms
  h.request, h.attempt, h.fingerprint, pc, pi, po, mi, h.model = string.match(terms, TERMS)
  if not h.model then
    corrupt('the terms of a hold can not be read')
  end
  h.per_call, h.per_in, h.per_out, h.max_in = tonumber(pc), tonumber(pi), tonumber(po), tonumber(mi)
end

-- Reads a hold of either kind; an open one has no state.
local function unpack_hold(text)
  local h, expires, held, mo, ui, uo, terms, charged, uncollected = {}
  local letter = string.sub(text, 2, 2)
  if letter ~= 'd' then
    expires, held, mo, ui, uo, h.estimated, h.user, h.key, terms = string.match(text, OPEN)
    h.in_due = letter == 'x'
  else
    expires, held, mo, ui, uo, h.estimated, h.user, h.key, h.state, h.outcome, charged, uncollected, h.entry, terms =
      string.match(text, RESOLVED)
    h.charged, h.uncollected = tonumber(charged or nil), tonumber(uncollected or nil)
  end
  if not terms then
    corrupt('a hold can not be read')
  end
  h.expires, h.held, h.max_out, h.used_in, h.used_out = tonumber(expires), tonumber(held), tonumber(mo), tonumber(ui), tonumber(uo)
  read_terms(h, terms)
  return h
end

local function pack_open(h)
  return format('1%s %d %d %d %d %d %s %s %s %s', h.in_due and 'x' or 'o', h.expires, h.held, h.max_out, h.used_in, h.used_out, h.estimated,
    h.user, h.key, h.terms)
end

-- The sums of hold.rs.
local function price_of_tokens(h, input, output)
  return math.ceil((input * h.per_in + output * h.per_out) / 1000)
end

local function price_of(h, input, output)
  return h.per_call + price_of_tokens(h, input, output)
end

-- Appends a ledger entry and answers its number. usage: 'in out estimated', or '- - -' for grants; text: the model, or the grant's note.
local function append(kind, credits, request, user, key, usage, text)
  acct.entries = acct.entries + 1
  local packed = format('1 %s %d %d %s %s %s %d', kind, credits, acct.available, user, key, usage, NOW)
  log_entries[#log_entries + 1] = { 'XADD', LOG, int(acct.entries) .. '-0', 'v', packed, 'r', request, 't', text }
  return acct.entries
end

-- Records a resolved hold. The figures of the account must have been changed before: `remaining` and the ledger entry tell them.
local function remember(id, h, state, outcome, charged_now)
  local usage = format('%d %d %s', h.used_in, h.used_out, h.estimated)
  -- 0 - x and not -x, which would be a negative zero.
  local entry = append(state, 0 - charged_now, h.request, h.user, h.key, usage, h.model)
  local packed = format('1d %d %d %d %s %s %s %s %s %d %d %d %d %d %s', h.expires, h.held, h.max_out, usage, h.user, h.key, state, outcome,
    h.charged, h.uncollected, acct.available, entry, NOW, h.terms)
  write_hold(id, packed)
  put('ZADD', GC, int(NOW + FORGET_AFTER), id)
  acct.next_gc = math.min(acct.next_gc, NOW + FORGET_AFTER)
  return packed
end

-- Resolves an open hold, and gives back what is not charged. Its id stays in `queue` until it is come across there.
local function resolve(id, h, state, outcome, charged)
  acct.held = acct.held - h.held
  acct.available = acct.available + h.held - charged
  acct.spent = acct.spent + charged
  acct.open, acct.remembered = acct.open - 1, acct.remembered + 1
  h.charged, h.uncollected = charged, 0
  if h.in_due then
    put('ZREM', DUE, id)
  end
  return remember(id, h, state, outcome, charged)
end

-- The first BATCH members of a sorted set whose score is reached, and the score of the one behind them.
local function reached(key)
  local raw = call('ZRANGE', key, 0, BATCH, 'WITHSCORES')
  local ids = {}
  for i = 1, #raw, 2 do
    local score = tonumber(raw[i + 1])
    if #ids == BATCH or score > NOW then
      return ids, score
    end
    ids[#ids + 1] = raw[i]
  end
  return ids, NEVER
end

-- Forgets requests whose time is over.
local function forget()
  if acct.next_gc > NOW then
    return
  end
  local ids
  ids, acct.next_gc = reached(GC)
  for i = 1, #ids do
    put('HDEL', ACCT, ids[i])
    put('ZREM', GC, ids[i])
    holds_now[ids[i]] = false
  end
  acct.remembered = acct.remembered - #ids
end

-- Looks at the first LOOK ids of `queue`, and gives `add` those of open holds that are due, with their texts. Answers the ids, how many of them
-- stand before the first open hold that isn't due, and a lower bound of the expiries from there on.
local function head_of_queue(add)
  local ids = call('LRANGE', QUEUE, 0, LOOK - 1)
  local texts = #ids > 0 and call('HMGET', ACCT, unpack(ids))
  for i = 1, #ids do
    local expires = tonumber(texts[i] and string.match(texts[i], '^1o (%d+) ') or nil)
    if expires and expires > NOW then
      -- The queue is in order: nothing behind it is due.
      return ids, i - 1, expires
    end
    if expires then
      add(ids[i], texts[i])
    end
  end
  return ids, #ids, #ids == LOOK and NOW or NEVER
end

-- Whether `expire` has looked at the queue, and may have queued that its head is trimmed.
local looked_at_queue = false

-- Resolves holds that are due, in the order of their expiries; answers how many.
local function expire()
  if acct.next_due > NOW then
    return 0
  end
  looked_at_queue = true
  local due, waiting = {}, {}
  local function add(id, text)
    local h = unpack_hold(text)
    h.id = id
    due[#due + 1], waiting[id] = h, true
  end
  local queued, passed, next_queued = head_of_queue(add)
  local extended, next_extended = reached(DUE)
  if #extended > 0 then
    local texts = call('HMGET', ACCT, unpack(extended))
    for i = 1, #extended do
      if not texts[i] or string.sub(texts[i], 1, 2) ~= '1x' then
        corrupt('a hold that is due is not open')
      end
      add(extended[i], texts[i])
    end
  end
  table.sort(due, function(a, b)
    return a.expires < b.expires or a.expires == b.expires and a.id < b.id
  end)
  acct.next_due = math.min(next_queued, next_extended)
  if #due > BATCH then
    acct.next_due = math.min(acct.next_due, due[BATCH + 1].expires)
  end
  local resolved = math.min(#due, BATCH)
  for i = 1, resolved do
    local h = due[i]
    waiting[h.id] = nil
    resolve(h.id, h, 'e', '-', math.min(price_of_tokens(h, h.used_in, h.used_out), h.held))
  end
  -- What still is for later keeps its place, and so does what stands behind it.
  local dropped = 0
  while dropped < passed and not waiting[queued[dropped + 1]] do
    dropped = dropped + 1
  end
  if dropped > 0 then
    put('LTRIM', QUEUE, dropped, -1)
  end
  if dropped == #queued and dropped < LOOK then
    -- Empty now: whatever comes next is in order.
    acct.queued = 0
  end
  return resolved
end

-- Drops ids at the head of the queue that stand for nothing any more, so that they don't have to be come across all at once when the first of them
-- would have been due: twice BATCH of them, when the ledger has BATCH more entries or a multiple. `resolved`: the id that this call resolves.
-- Not when `expire` has done it: what is read here is the queue as it is before that is written.
local function tidy_queue(resolved)
  if looked_at_queue or acct.entries % BATCH ~= 0 then
    return
  end
  local ids = call('LRANGE', QUEUE, 0, 2 * BATCH - 1)
  if #ids == 0 then
    return
  end
  local texts, dropped = call('HMGET', ACCT, unpack(ids)), 0
  for i = 1, #ids do
    if ids[i] ~= resolved and texts[i] and string.sub(texts[i], 1, 2) == '1o' then
      break
    end
    dropped = i
  end
  if dropped > 0 then
    put('LTRIM', QUEUE, dropped, -1)
  end
end

local function sweep()
  forget()
  return expire()
end
