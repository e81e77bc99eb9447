-- What every script on one account starts with (version 1): the account's figures, the sweep of due holds, the sums of hold.rs, the ledger.
--
-- KEYS  1 acct  2 members  3 keys  4 open  5 due  6 done  7 gc  8 log  9 grants  10 user (all under the account's hash tag)
-- ARGV  1 now in ms, or '' for Redis's own clock  2 hold's life in ms  3 how long to remember in ms  4 most holds swept by one call
--
-- Atomicity: Redis runs a script alone and does not roll back. So every script reads, computes and checks first; what it wants written
-- is queued by `put` and `append`, and `commit` checks the balance once more before it writes anything. Contradictions in what is stored
-- end the script with a TGCORRUPT error before the first write.
--
-- Numbers are printed by `int` alone: Lua itself would print 14 digits, and exponents. All stay below 2^53, which a double holds exactly.

local ACCT, MEMBERS, KEYRING, OPEN, DUE, DONE, GC, LOG, GRANTS, USER = unpack(KEYS, 1, 10)
local HOLD_TTL, FORGET_AFTER, BATCH = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
-- The value of next_due and next_gc when nothing is due ever.
local NEVER = 9007199254740991

local NOW
if ARGV[1] ~= '' then
  NOW = tonumber(ARGV[1])
else
  local time = redis.call('TIME')
  NOW = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function int(number)
  return string.format('%d', number)
end

local function corrupt(text)
  error({ err = 'TGCORRUPT ' .. text })
end

-- What is to be written. Ledger entries go first: XADD refuses an id that is not above the last, and then nothing has been written yet.
local entries, writes = {}, {}

local function put(...)
  writes[#writes + 1] = { ... }
end

-- The account's figures, and as they were read. next_due and next_gc are lower bounds of the first score in `due` and `gc`.
local FIGURES = { 'available', 'held', 'spent', 'lapsed', 'granted', 'next_due', 'next_gc', 'n' }
local acct, was

local function check_balance(a)
  if a.available < 0 or a.held < 0 or a.spent < 0 or a.lapsed < 0 then
    corrupt('a figure of the account is negative')
  end
  if a.granted ~= a.available + a.held + a.spent + a.lapsed then
    corrupt('granted is not available + held + spent + lapsed')
  end
end

-- Reads the figures; false when there is no such account.
local function load_account()
  local raw = redis.call('HMGET', ACCT, unpack(FIGURES))
  if not raw[1] and not raw[8] then
    return false
  end
  acct, was = {}, {}
  for i = 1, 8 do
    local figure = tonumber(raw[i] or nil)
    if not figure then
      corrupt('the account has no ' .. FIGURES[i])
    end
    acct[FIGURES[i]], was[FIGURES[i]] = figure, figure
  end
  check_balance(acct)
  return true
end

-- Checks the new figures and writes all that is queued.
local function commit(reply)
  check_balance(acct)
  if acct.spent < was.spent then
    corrupt('spent would fall')
  end
  for i = 1, #entries do
    redis.call(unpack(entries[i]))
  end
  for i = 1, #writes do
    redis.call(unpack(writes[i]))
  end
  local changed = { 'HSET', ACCT }
  for i = 1, 8 do
    local name = FIGURES[i]
    if acct[name] ~= was[name] then
      changed[#changed + 1] = name
      changed[#changed + 1] = int(acct[name])
    end
  end
  if #changed > 2 then
    redis.call(unpack(changed))
  end
  return reply
end

-- Holds, packed. Separated by single spaces; no field but the last, the model, can hold one. `-` stands for no key.
--   open: 1 user key request attempt fingerprint per_call per_1k_in per_1k_out held max_in max_out used_in used_out estimated expires model
--   done: the same up to expires, then: state outcome charged uncollected remaining entry at model
--         state: s settled, r refunded, e expired, l settled late; outcome: c, x cancelled, f failed, n nothing generated, - none
-- A refunded request that was held again lies aside in `done` and `gc`, under `hold id#ledger entry`, until it is forgotten.
local HEAD = '^1 (%S+) (%S+) (%S+) (%S+) (%S*) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) ([01]) (%d+)'
local OPEN_PATTERN = HEAD .. ' (.*)$'
local DONE_PATTERN = HEAD .. ' ([srel]) ([cxfn-]) (%d+) (%d+) (%d+) (%d+) (%d+) (.*)$'

local function hold_of(user, key, request, attempt, print, pc, pi, po, held, mi, mo, ui, uo, est, expires)
  return {
    user = user, key = key, request = request, attempt = attempt, fingerprint = print,
    per_call = tonumber(pc), per_in = tonumber(pi), per_out = tonumber(po), held = tonumber(held),
    max_in = tonumber(mi), max_out = tonumber(mo), used_in = tonumber(ui), used_out = tonumber(uo),
    estimated = est, expires = tonumber(expires),
  }
end

local function unpack_open(text)
  local f = { string.match(text, OPEN_PATTERN) }
  if not f[1] then
    corrupt('an open hold can not be read')
  end
  local hold = hold_of(unpack(f, 1, 15))
  hold.model = f[16]
  return hold
end

local function unpack_done(text)
  local f = { string.match(text, DONE_PATTERN) }
  if not f[1] then
    corrupt('a resolved hold can not be read')
  end
  local hold = hold_of(unpack(f, 1, 15))
  hold.state, hold.outcome, hold.charged, hold.uncollected, hold.entry = f[16], f[17], tonumber(f[18]), tonumber(f[19]), f[21]
  hold.model = f[23]
  return hold
end

local function pack_head(h)
  return table.concat({
    '1', h.user, h.key, h.request, h.attempt, h.fingerprint, int(h.per_call), int(h.per_in), int(h.per_out), int(h.held),
    int(h.max_in), int(h.max_out), int(h.used_in), int(h.used_out), h.estimated, int(h.expires),
  }, ' ')
end

local function pack_open(h)
  return pack_head(h) .. ' ' .. h.model
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
  acct.n = acct.n + 1
  local packed = table.concat({ '1', kind, int(credits), int(acct.available), user, key, usage, int(NOW) }, ' ')
  entries[#entries + 1] = { 'XADD', LOG, int(acct.n) .. '-0', 'v', packed, 'r', request, 't', text }
  return acct.n
end

-- What the queued writes have changed already, by hold id: packed text, or false for gone.
local open_now, done_now = {}, {}
local open_change, done_change = 0, 0

local function read_open(id)
  if open_now[id] ~= nil then
    return open_now[id]
  end
  return redis.call('HGET', OPEN, id)
end

local function read_done(id)
  if done_now[id] ~= nil then
    return done_now[id]
  end
  return redis.call('HGET', DONE, id)
end

-- Records a resolved hold. The figures of the account must have been changed before: `remaining` and the ledger entry tell them.
local function remember(id, h, state, outcome, charged_now)
  local usage = int(h.used_in) .. ' ' .. int(h.used_out) .. ' ' .. h.estimated
  -- 0 - x and not -x, which would be a negative zero.
  local entry = append(state, 0 - charged_now, h.request, h.user, h.key, usage, h.model)
  local packed = pack_head(h) .. ' ' .. table.concat({
    state, outcome, int(h.charged), int(h.uncollected), int(acct.available), int(entry), int(NOW), h.model,
  }, ' ')
  put('HSET', DONE, id, packed)
  put('ZADD', GC, int(NOW + FORGET_AFTER), id)
  acct.next_gc = math.min(acct.next_gc, NOW + FORGET_AFTER)
  done_now[id] = packed
  return packed
end

-- Resolves an open hold and gives back what is not charged.
local function resolve(id, h, state, outcome, charged)
  acct.held = acct.held - h.held
  acct.available = acct.available + h.held - charged
  acct.spent = acct.spent + charged
  h.charged, h.uncollected = charged, 0
  put('HDEL', OPEN, id)
  put('ZREM', DUE, id)
  open_now[id] = false
  open_change, done_change = open_change - 1, done_change + 1
  return remember(id, h, state, outcome, charged)
end

-- The first BATCH members of a sorted set whose score is reached, and the score of the one behind them.
local function reached(key)
  local raw = redis.call('ZRANGE', key, 0, BATCH, 'WITHSCORES')
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

-- Forgets requests whose time is over, then resolves holds that are due; answers how many were resolved.
local function sweep()
  if acct.next_gc <= NOW then
    local ids
    ids, acct.next_gc = reached(GC)
    for i = 1, #ids do
      put('HDEL', DONE, ids[i])
      put('ZREM', GC, ids[i])
      done_now[ids[i]] = false
    end
    done_change = done_change - #ids
  end
  if acct.next_due > NOW then
    return 0
  end
  local ids
  ids, acct.next_due = reached(DUE)
  if #ids == 0 then
    return 0
  end
  local packed = redis.call('HMGET', OPEN, unpack(ids))
  for i = 1, #ids do
    if not packed[i] then
      corrupt('a hold that is due is not open')
    end
    local h = unpack_open(packed[i])
    resolve(ids[i], h, 'e', '-', math.min(price_of_tokens(h, h.used_in, h.used_out), h.held))
  end
  return #ids
end
