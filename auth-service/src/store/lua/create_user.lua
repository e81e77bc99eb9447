-- create_user, version 1: a user's record, their account, and its first ledger entry. The name is claimed and the account registered
-- before.
--
-- ARGV  5 user id  6 user name  7 password hash  8 full name  9 e-mail  10 role: u or a  11 starting credits  12 when the name was claimed
--       13 how long after that the user may still be made, in ms  14 the starting grant's request id  15 its note
-- Returns  {'created', time in ms} · {'late'}: the claim may have gone to somebody else
-- Atomicity: one script. Idempotent. Needs memory, so it is refused when Redis is full.

local made = redis.call('HGET', USER, 'created_at_ms')
if made then
  return { 'created', made }
end
if NOW - tonumber(ARGV[12]) > tonumber(ARGV[13]) then
  return { 'late' }
end
if load_account() then
  corrupt('a user without a record has an account')
end
local credits = tonumber(ARGV[11])
-- Starts from nothing, so that `commit` writes every figure.
acct = { available = credits, held = 0, spent = 0, lapsed = 0, granted = credits, next_due = NEVER, next_gc = NEVER, n = 0 }
was = { spent = 0 }
if credits > 0 then
  local entry = append('g', credits, ARGV[14], ARGV[5], '-', '- - -', ARGV[15])
  put('HSET', GRANTS, ARGV[14], '1 ' .. int(credits) .. ' ' .. int(entry))
end
put('HSET', ACCT, 'v', '1', 'kind', 'user', 'name', ARGV[6], 'spent', '0')
put('HSET', MEMBERS, ARGV[5], '1 ' .. ARGV[10] .. ' e 0')
put('HSET', USER, 'v', '1', 'name', ARGV[6], 'password_hash', ARGV[7], 'full_name', ARGV[8], 'email', ARGV[9], 'role', ARGV[10],
  'disabled', '0', 'valid_from', '0', 'created_at_ms', int(NOW))
return commit({ 'created', int(NOW) })
