-- replace, version 3: replaces records of who may do what, when the account's rights version is still the one they were read with, and so
-- is that of the account of who asks. What is to be known of it, an audit event and what it revokes, is written with it.
--
-- KEYS  1 acct  2 members  3 keys  4 user  5 sessions  6 the event's audit log  7 revocations  8 used
--       9 acct of who asks
-- ARGV  1 now  2 the rights version  3 the next one  4 the rights version of who asks  5 the audit event, or ''  6 how many revocations;
--       these; then three of each record: which of KEYS, the field ('' where there is none), the record ('' to drop it)
-- Returns  1, or 0 when one isn't: nothing was written
-- Atomicity: one script. The next rights version was never there before, so whatever was read of the account's rights counts no more.
-- Works when Redis is full under the name `restrict`, and not under `replace`.

local counters = call('HGET', KEYS[1], 'counters')
if not counters or #counters ~= COUNTERS_SIZE then
  return 0
end
if sub(counters, COUNTERS_SIZE - 7) ~= ARGV[2] then
  return 0
end
local of_asker = call('HGET', KEYS[9], 'counters')
if not of_asker or sub(of_asker, COUNTERS_SIZE - 7) ~= ARGV[4] then
  return 0
end
local records = 7 + tonumber(ARGV[6])
-- First, because Redis takes nothing back: when a stream is none, nothing is changed without its event.
if ARGV[5] ~= '' then
  local most = KEYS[6] == AUDIT_OPERATORS and MAX_OPERATORS or MAX_CHANGES
  call('XADD', KEYS[6], 'MAXLEN', '~', most, '*', 'e', pack('<d', NOW) .. ARGV[5])
end
for i = 7, records - 1 do
  call('XADD', KEYS[7], 'MAXLEN', '~', MAX_REVOCATIONS, '*', 'e', pack('<d', NOW) .. ARGV[i])
end
for i = records, #ARGV, 3 do
  local key, field, record = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]
  if field == '' then
    call('SET', key, record)
  elseif record == '' then
    call('HDEL', key, field)
  else
    call('HSET', key, field, record)
  end
end
call('HSET', KEYS[1], 'counters', sub(counters, 1, COUNTERS_SIZE - 8) .. ARGV[3])
return 1
