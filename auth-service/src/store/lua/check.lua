-- check, version 1: authenticates, authorizes, and holds credits.
--
-- ARGV  5 credential: 'k' API key, 't' access token  6 the key's secret hash, or the user id  7 the token's time of issue in ms, or ''
--       8 scope letter  9 '1' when the admin role is needed  10 model, or ''
--       11 the request's digest, or '' when nothing is to be held  12 request id  13 attempt id  14 fingerprint
--       15 per_call  16 per_1k_in  17 per_1k_out  18 max_in  19 max_out  20 '1' when the whole must be held
--       21 most open holds  22 most remembered requests
-- Returns  {'refused', reason[, needed, available]} · {'allowed', user, role, key} · {'held', user, role, key, open hold, available}
--          · {'recorded', user, role, key, resolved hold}; key is '-' for an access token
-- Atomicity: one script. A refusal writes only what was due anyway. Needs memory, so it is refused when Redis is full; without anything
-- to be held it writes nothing, and runs as `authorize`, also when Redis is full.

local function percent_decoded(text)
  return (string.gsub(text, '%%(%x%x)', function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

-- Whether a pattern, in which `*` stands for any run of characters, matches: as `matches` in price_table.rs. What is between two stars is
-- looked for once, by plain search, from where the part before it was first found: nothing goes back, as a pattern of Lua's would.
local function matches(pattern, text)
  local star = string.find(pattern, '*', 1, true)
  if not star then
    return pattern == text
  end
  if string.sub(text, 1, star - 1) ~= string.sub(pattern, 1, star - 1) then
    return false
  end
  local at, from = star, star + 1
  while true do
    star = string.find(pattern, '*', from, true)
    if not star then
      local last = string.sub(pattern, from)
      return #text - #last + 1 >= at and string.sub(text, #text - #last + 1) == last
    end
    local first, behind = string.find(text, string.sub(pattern, from, star - 1), at, true)
    if not first then
      return false
    end
    at, from = behind + 1, star + 1
  end
end

-- Every pattern is written as `=pattern,`, percent-encoded; `-` is the list that allows all.
local function model_allowed(list, model)
  if list == '-' or model == '' then
    return true
  end
  for pattern in string.gmatch(list, '=([^,]*),') do
    if matches(percent_decoded(pattern), model) then
      return true
    end
  end
  return false
end

local user, key_id, scopes, models, issued = nil, '-', nil, nil, nil
if ARGV[5] == 'k' then
  local packed = redis.call('HGET', KEYRING, ARGV[6])
  if not packed then
    return { 'refused', 'unknown' }
  end
  local expires, revoked
  key_id, user, scopes, expires, revoked, models = string.match(packed, '^1 (%S+) (%S+) s(%a*) %d+ (%S+) (%S+) (%S+) ')
  if not key_id then
    corrupt('an API key can not be read')
  end
  if revoked ~= '-' then
    return { 'refused', 'revoked' }
  end
  if expires ~= '-' and tonumber(expires) <= NOW then
    return { 'refused', 'expired' }
  end
else
  user, issued = ARGV[6], tonumber(ARGV[7])
end

local member = redis.call('HGET', MEMBERS, user)
if not member then
  return { 'refused', 'no_member' }
end
local role, status, valid_from = string.match(member, '^1 ([ua]) ([ed]) (%d+)$')
if not role then
  corrupt('a member can not be read')
end
if status ~= 'e' then
  return { 'refused', 'disabled' }
end
-- Whole seconds: a token's time of issue has no finer.
if issued and issued < tonumber(valid_from) - tonumber(valid_from) % 1000 then
  return { 'refused', 'revoked' }
end
if ARGV[9] == '1' and role ~= 'a' then
  return { 'refused', 'role' }
end
if scopes and not string.find(scopes, ARGV[8], 1, true) then
  return { 'refused', 'scope' }
end
if models and not model_allowed(models, ARGV[10]) then
  return { 'refused', 'model' }
end
if ARGV[11] == '' then
  return { 'allowed', user, role, key_id }
end

if not load_account() then
  corrupt('a member has no account')
end
sweep()
local id = user .. '.' .. ARGV[11]

local open = read_open(id)
if open then
  local h = unpack_open(open)
  if h.fingerprint ~= ARGV[14] then
    return commit({ 'refused', 'reused' })
  end
  if h.attempt ~= ARGV[13] then
    return commit({ 'refused', 'in_progress' })
  end
  return commit({ 'held', user, role, key_id, open, int(acct.available) })
end

local done = read_done(id)
if done then
  local h = unpack_done(done)
  if h.fingerprint ~= ARGV[14] then
    return commit({ 'refused', 'reused' })
  end
  if h.state ~= 'r' or h.attempt == ARGV[13] then
    return commit({ 'recorded', user, role, key_id, done })
  end
end

if redis.call('HLEN', OPEN) + open_change >= tonumber(ARGV[21]) then
  return commit({ 'refused', 'open_holds' })
end
-- A refunded request that is held again keeps its place: each round wrote a ledger entry, and only the bound ends the rounds.
if redis.call('HLEN', DONE) + done_change >= tonumber(ARGV[22]) then
  return commit({ 'refused', 'remembered' })
end

local h = hold_of(user, key_id, ARGV[12], ARGV[13], ARGV[14], ARGV[15], ARGV[16], ARGV[17], '0', ARGV[18], ARGV[19], '0', '0', '0', '0')
h.model = ARGV[10]
h.held = price_of(h, h.max_in, h.max_out)
if h.held > acct.available then
  local needed = ARGV[20] == '1' and h.held or price_of(h, h.max_in, 1)
  if needed > acct.available then
    -- When more is due than one call sweeps, credits may come back: that is not the last word.
    if acct.next_due <= NOW then
      return commit({ 'refused', 'sweeping' })
    end
    return commit({ 'refused', 'credits', int(needed), int(acct.available) })
  end
  -- Output costs something here: without, the least and the most would be the same.
  local left = (acct.available - h.per_call) * 1000 - h.max_in * h.per_in
  h.max_out = math.min(h.max_out, math.floor(left / h.per_out))
  h.held = price_of(h, h.max_in, h.max_out)
end
h.expires = NOW + HOLD_TTL

acct.available = acct.available - h.held
acct.held = acct.held + h.held
acct.next_due = math.min(acct.next_due, h.expires)
open = pack_open(h)
if done then
  local aside, forget_at = id .. '#' .. unpack_done(done).entry, redis.call('ZSCORE', GC, id)
  if not forget_at then
    corrupt('a remembered request is never forgotten')
  end
  put('HDEL', DONE, id)
  put('ZREM', GC, id)
  put('HSET', DONE, aside, done)
  put('ZADD', GC, forget_at, aside)
end
put('HSET', OPEN, id, open)
put('ZADD', DUE, int(h.expires), id)
return commit({ 'held', user, role, key_id, open, int(acct.available) })
