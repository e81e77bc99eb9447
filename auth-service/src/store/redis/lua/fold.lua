-- fold, version 1: removes an account's oldest ledger entries, and replaces the checkpoint that stands for what was removed.
--
-- KEYS  1 acct  2 log
-- ARGV  1 the id of the oldest entry that must be there  2 the id below which all are removed  3 the checkpoint
-- Returns  1, or 0 when another entry is the oldest: nothing was written
-- Atomicity: one script. Idempotent: the same checkpoint again is 1. The log keeps its last id, also when it is empty: no number comes
-- again. Works when Redis is full: it gives back more than it takes.

local call = redis.call
if call('HGET', KEYS[1], 'checkpoint') == ARGV[3] then
  return 1
end
local oldest = call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if not oldest or oldest[1] ~= ARGV[1] then
  return 0
end
-- The checkpoint first: whatever fails, no credits are without an entry.
call('HSET', KEYS[1], 'checkpoint', ARGV[3])
call('XTRIM', KEYS[2], 'MINID', '=', ARGV[2])
return 1
