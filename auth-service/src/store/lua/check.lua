-- check, version 3: authenticates, authorizes, and holds credits, for some requests that came at the same time: first those that the quick way does,
-- then the others, each in the order in which they stand.
--
-- KEYS  two of each request's account: acct and queue. They are all that the quick way touches, and each one costs every call; the others
--       are named after the first.
-- ARGV  1 now in ms, or '' for Redis's own clock; then six of each request:
--       1 the account's `access` when the caller's rights were read before and found sufficient, or ''
--       2 the hold's id when 1 is set, else the request's digest, which the id ends with; '' when nothing is to be held
--       3 the whole price
--       4 the new hold, packed as in account.lua from behind its expiry, with `-` for a user and a key that are not known; the model alone
--         when nothing is to be held
--       5 who asks for what: a letter each for the credential (k API key, t access token), the scope, whether the admin role is needed and
--         whether the whole must be held (0 or 1); then SHA-256 of the key's secret, or the user's id and the token's time of issue in ms.
--         No longer than need be: what is within 44 bytes costs Redis half.
--       6 when 1 is set and the key ends: when, in ms; else ''
-- Returns  the expiry of every hold that was made in the quick way, in ms, and then for each request
--          the credits that are available now: held in the quick way, at the whole price
--          · {'refused', reason[, needed, available]} · {'allowed', user, role, key}
--          · {'held', user, role, key, open hold, available, access, key's record, member's record}
--          · {'recorded', user, role, key, resolved hold, access, key's record, member's record}
--          key is '-', its record '', for an access token
-- Atomicity: each request reads, computes and checks before it writes. What contradicts itself ends the script there; each request is then run
-- again by itself, and what was held already is found. A refusal writes only what was due anyway. Needs memory, so it is refused when
-- Redis is full; without anything to be held it writes nothing, and runs as `authorize`, also when Redis is full.

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

-- Every pattern is written as `=pattern,`, percent-encoded; `-` is the list that allows all. Names are in lower case; patterns that were kept
-- before case was folded may not be.
local function model_allowed(list, model)
  if list == '-' or model == '' then
    return true
  end
  for pattern in string.gmatch(list, '=([^,]*),') do
    if matches(string.lower(percent_decoded(pattern)), model) then
      return true
    end
  end
  return false
end

-- Turns to an account: names its keys, which are in the same slot whatever the prefix (`…{account}:acct`), and forgets what was read and
-- queued for the one before.
local function turn_to(acct_key, queue_key)
  local account = string.sub(acct_key, 1, -5)
  ACCT, QUEUE = acct_key, queue_key
  DUE, GC, LOG, MEMBERS, KEYRING = account .. 'due', account .. 'gc', account .. 'log', account .. 'members', account .. 'keys'
  log_entries, writes, holds_now, fields, looked_at_queue = {}, {}, {}, {}, false
end

local function check(digest, price, hold, who)
  local credential, scope, admin, full = string.match(who, '^([kt])(%a)([01])([01])')
  local user, key_id, key_record, scopes, models, issued
  local model, max_out, terms = hold
  if digest ~= '' then
    max_out, terms, model = string.match(hold, NEW_HOLD)
  end
  if credential == 't' then
    user, issued, key_id, key_record = string.sub(who, 5, 20), tonumber(string.sub(who, 21)), '-', ''
  end
  if credential == 'k' then
    key_record = call('HGET', KEYRING, string.sub(who, 5))
    if not key_record then
      return { 'refused', 'unknown' }
    end
    local expires, revoked
    key_id, user, scopes, expires, revoked, models = string.match(key_record, '^1 (%S+) (%S+) s(%a*) %d+ (%S+) (%S+) (%S+) ')
    if not key_id then
      corrupt('an API key can not be read')
    end
    if revoked ~= '-' then
      return { 'refused', 'revoked' }
    end
    if expires ~= '-' and tonumber(expires) <= NOW then
      return { 'refused', 'expired' }
    end
  end

  local member = call('HGET', MEMBERS, user)
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
  if admin == '1' and role ~= 'a' then
    return { 'refused', 'role' }
  end
  if scopes and not string.find(scopes, scope, 1, true) then
    return { 'refused', 'scope' }
  end
  if models and not model_allowed(models, model) then
    return { 'refused', 'model' }
  end
  if digest == '' then
    return { 'allowed', user, role, key_id }
  end

  if not load_account() then
    corrupt('a member has no account')
  end
  local access = call('HGET', ACCT, 'access')
  if not access then
    corrupt('the account does not count who may spend')
  end
  -- The digest has 32 digits; the known id of a known caller ends with it.
  local id = user .. '.' .. string.sub(digest, -32)
  local h = { user = user, key = key_id, estimated = '0', used_in = 0, used_out = 0, max_out = tonumber(max_out), held = tonumber(price) }
  read_terms(h, terms)

  -- What is due may not wait. What is to be forgotten may, as long as nobody asks for it or for its place: nearly every call would else have
  -- something to forget, once an account is older than FORGET_AFTER.
  if read_hold(id) or acct.remembered + BATCH >= MAX_REMEMBERED then
    forget()
  end
  expire()
  local text = read_hold(id)
  local before = text and unpack_hold(text)
  if before then
    if before.fingerprint ~= h.fingerprint then
      return commit({ 'refused', 'reused' })
    end
    local same_attempt = before.attempt == h.attempt
    if not before.state then
      if not same_attempt then
        return commit({ 'refused', 'in_progress' })
      end
      return commit({ 'held', user, role, key_id, text, int(acct.available), access, key_record, member })
    end
    if before.state ~= 'r' or same_attempt then
      return commit({ 'recorded', user, role, key_id, text, access, key_record, member })
    end
  end

  if acct.open >= MAX_OPEN then
    return commit({ 'refused', 'open_holds' })
  end
  -- A refunded request that is held again keeps its place: each round wrote a ledger entry, and only the bound ends the rounds.
  if acct.remembered >= MAX_REMEMBERED then
    return commit({ 'refused', 'remembered' })
  end

  if h.held > acct.available then
    local needed = full == '1' and h.held or price_of(h, h.max_in, 1)
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
  -- At the end of the queue, if it is in order there and its id stands nowhere else in it. The id may, when the request was held before: a
  -- refunded one, or one that is forgotten before the queue has come to it.
  h.in_due = before or h.expires < acct.queued or acct.next_due <= NOW or FORGET_AFTER < HOLD_TTL

  acct.available = acct.available - h.held
  acct.held = acct.held + h.held
  acct.open = acct.open + 1
  acct.next_due = math.min(acct.next_due, h.expires)
  if before then
    local aside, forget_at = id .. '#' .. before.entry, call('ZSCORE', GC, id)
    if not forget_at then
      corrupt('a remembered request is never forgotten')
    end
    put('ZREM', GC, id)
    put('ZADD', GC, forget_at, aside)
    write_hold(aside, text)
  end
  text = pack_open(h)
  write_hold(id, text)
  if h.in_due then
    put('ZADD', DUE, int(h.expires), id)
  else
    put('RPUSH', QUEUE, id)
    acct.queued = h.expires
  end
  return commit({ 'held', user, role, key_id, text, int(acct.available), access, key_record, member })
end

for i = 1, REQUESTS do
  if not answers[i + 1] then
    local at = 6 * i - 4
    turn_to(KEYS[2 * i - 1], KEYS[2 * i])
    answers[i + 1] = check(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
  end
end
return answers
