-- create_user, version 2: a user's record, their account, and its first ledger entry. The name is claimed and the account registered
-- before.
--
-- ARGV  2 user id  3 user name  4 password hash  5 full name  6 e-mail  7 role: u or a  8 starting credits  9 when the name was claimed
--       10 how long after that the user may still be made, in ms  11 the starting grant's request id  12 its note
-- Returns  {'created', time in ms} · {'late'}: the claim may have gone to somebody else
-- Atomicity: one script. Idempotent. Needs memory, so it is refused when Redis is full.

local made = call('HGET', USER, 'created_at_ms')
if made then
  return { 'created', made }
end
if NOW - tonumber(ARGV[9]) > tonumber(ARGV[10]) then
  return { 'late' }
end
if load_account() then
  corrupt('a user without a record has an account')
end
local credits = tonumber(ARGV[8])
acct = {
  available = credits, held = 0, spent = 0, lapsed = 0, granted = credits, next_due = NEVER, next_gc = NEVER, entries = 0, open = 0,
  remembered = 0, queued = 0,
}
was_spent = 0
if credits > 0 then
  local entry = append('g', credits, ARGV[11], ARGV[2], '-', '- - -', ARGV[12])
  put('HSET', GRANTS, ARGV[11], '1 ' .. int(credits) .. ' ' .. int(entry))
end
put('HSET', ACCT, 'v', '2', 'kind', 'user', 'name', ARGV[3], 'access', '0')
put('HSET', MEMBERS, ARGV[2], '1 ' .. ARGV[7] .. ' e 0')
put('HSET', USER, 'v', '1', 'name', ARGV[3], 'password_hash', ARGV[4], 'full_name', ARGV[5], 'email', ARGV[6], 'role', ARGV[7],
  'disabled', '0', 'valid_from', '0', 'created_at_ms', int(NOW))
return commit({ 'created', int(NOW) })
