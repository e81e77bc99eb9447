-- create_user, version 3: a user's record, their account, and its first ledger entry; where an issuer's identity signs them in, that too,
-- and their first session. The name is claimed and the account registered before.
--
-- KEYS  1 acct  2 members  3 user  4 log  5 the event's audit log
--       with an identity: 6 the identity  7 its proof  8 sessions  9 identities
-- ARGV  1 now  2 user id  3 user  4 member  5 the latest time at which the user may still be made, in ms  6 starting credits
--       7 the starting grant's id  8 what its ledger entry records  9 the first rights version  10 the audit event
--       with an identity: 11 how long its proof must be known, in ms  12 the session's id  13 the session  14 the identity's hash
--       15 the identity's record
-- Returns  {'created', user} · {'late'}: the claim may have gone to somebody else · {'linked'}: the identity signs a user in
--          {'used'}: the proof was used before
-- Atomicity: one script. Idempotent. Needs memory, so it is refused when Redis is full.

local made = call('GET', KEYS[3])
if made then
  return { 'created', made }
end
if NOW > tonumber(ARGV[5]) then
  return { 'late' }
end
if KEYS[6] then
  if call('EXISTS', KEYS[7]) == 1 then
    return { 'used' }
  end
  if call('EXISTS', KEYS[6]) == 1 then
    return { 'linked' }
  end
end
-- First, as in replace.lua.
local most = KEYS[5] == AUDIT_OPERATORS and MAX_OPERATORS or MAX_CHANGES
call('XADD', KEYS[5], 'MAXLEN', '~', most, '*', 'e', pack('<d', NOW) .. ARGV[10])
local credits = tonumber(ARGV[6])
local entries = credits > 0 and 1 or 0
local counters = pack(COUNTERS, VERSION, credits, 0, 0, 0, credits, NEVER, NEVER, entries, 0, 0, 0, 0, ARGV[9])
if credits > 0 then
  call('XADD', KEYS[4], '1-0', 'e', pack(ENTRY_FIGURES, VERSION, credits, credits, NOW) .. ARGV[8])
  call('HSET', KEYS[1], ARGV[7], pack(HEAD_OUTCOME, VERSION, GRANT, 0, credits, 0, 0, 0, 0, credits, 1, NOW))
end
call('HSET', KEYS[1], 'counters', counters)
call('HSET', KEYS[2], ARGV[2], ARGV[4])
if KEYS[6] then
  call('SET', KEYS[6], ARGV[2])
  call('SET', KEYS[7], '1', 'PX', ARGV[11])
  call('HSET', KEYS[8], ARGV[12], ARGV[13])
  call('HSET', KEYS[9], ARGV[14], ARGV[15])
end
call('SET', KEYS[3], ARGV[3])
return { 'created', ARGV[3] }
