-- ledger, version 1: ledger entries, newest first, after what is due.
--
-- ARGV  5 only entries below this number, or ''  6 how many at most
-- Returns  {id, {'v', packed, 'r', request id, 't', model or note}} for each, as XREVRANGE has them
-- Atomicity: one script. Works when Redis is full.

if not load_account() then
  return {}
end
sweep()
commit(true)
local newest = ARGV[5] == '' and acct.n or math.min(tonumber(ARGV[5]) - 1, acct.n)
if newest < 1 or tonumber(ARGV[6]) < 1 then
  return {}
end
return redis.call('XREVRANGE', LOG, int(newest) .. '-0', '-', 'COUNT', ARGV[6])
