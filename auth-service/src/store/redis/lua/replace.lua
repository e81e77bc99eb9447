-- replace, version 4: replaces records of who may do what, when the account's rights version is still the one they were read with, and so
-- are those of the other accounts that it was decided from, and records that are good once are as they were read. What is to be known of
-- it, an audit event and what it revokes, is written with it.
--
-- KEYS  1 acct  2 members  3 keys  4 user  5 sessions  6 the event's audit log  7 revocations  8 used
--       9 and on: acct of each other account; then every other key that is compared or replaced
-- ARGV  1 now  2 the rights version  3 the next one  4 how many other accounts  5 how many records are compared  6 the audit event, or ''
--       7 how many revocations;
--       two of each other account: its rights version, and the next one ('' when it stays);
--       three of each record to be compared: which of KEYS, the field ('' where there is none), what it must be ('' where there must be
--       none);
--       the revocations;
--       four of each record to be replaced: which of KEYS, the field ('' where there is none), the record ('' to drop it), and in how many
--       ms Redis may drop it by itself ('' when never; only where there is no field)
-- Returns  1, or 0 when something isn't as it was: nothing was written
-- Atomicity: one script. The next rights version was never there before, so whatever was read of the account's rights counts no more.
-- Works when Redis is full under the name `restrict`, and not under `replace`.

local counters = call('HGET', KEYS[1], 'counters')
if not counters or #counters ~= COUNTERS_SIZE or sub(counters, COUNTERS_SIZE - 7) ~= ARGV[2] then
  return 0
end
local others, compared, revoked = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[7])
local at = 8
local changed = {}
for i = 1, others do
  local of_other = call('HGET', KEYS[8 + i], 'counters')
  if not of_other or #of_other ~= COUNTERS_SIZE or sub(of_other, COUNTERS_SIZE - 7) ~= ARGV[at] then
    return 0
  end
  if ARGV[at + 1] ~= '' then
    changed[KEYS[8 + i]] = sub(of_other, 1, COUNTERS_SIZE - 8) .. ARGV[at + 1]
  end
  at = at + 2
end
for _ = 1, compared do
  local key, field, expected = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
  local found
  if field == '' then
    found = call('GET', key)
  else
    found = call('HGET', key, field)
  end
  if (found or '') ~= expected then
    return 0
  end
  at = at + 3
end
-- First, because Redis takes nothing back: when a stream is none, nothing is changed without its event.
if ARGV[6] ~= '' then
  local most = KEYS[6] == AUDIT_OPERATORS and MAX_OPERATORS or MAX_CHANGES
  call('XADD', KEYS[6], 'MAXLEN', '~', most, '*', 'e', pack('<d', NOW) .. ARGV[6])
end
for i = at, at + revoked - 1 do
  call('XADD', KEYS[7], 'MAXLEN', '~', MAX_REVOCATIONS, '*', 'e', pack('<d', NOW) .. ARGV[i])
end
for i = at + revoked, #ARGV, 4 do
  local key, field, record, life = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if field == '' and record == '' then
    call('DEL', key)
  elseif field == '' and life ~= '' then
    call('SET', key, record, 'PX', life)
  elseif field == '' then
    call('SET', key, record)
  elseif record == '' then
    call('HDEL', key, field)
  else
    call('HSET', key, field, record)
  end
end
for acct, next_counters in pairs(changed) do
  call('HSET', acct, 'counters', next_counters)
end
call('HSET', KEYS[1], 'counters', sub(counters, 1, COUNTERS_SIZE - 8) .. ARGV[3])
return 1
