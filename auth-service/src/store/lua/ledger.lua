-- ledger, version 2: ledger entries, newest first, after what is due.
--
-- ARGV  2 only entries below this number, or ''  3 how many at most
-- Returns  {id, {'v', packed, 'r', request id, 't', model or note}} for each, as XREVRANGE has them
-- Atomicity: one script. Works when Redis is full.

if not load_account() then
  return {}
end
sweep()
commit(true)
local newest = ARGV[2] == '' and acct.entries or math.min(tonumber(ARGV[2]) - 1, acct.entries)
if newest < 1 or tonumber(ARGV[3]) < 1 then
  return {}
end
return call('XREVRANGE', LOG, int(newest) .. '-0', '-', 'COUNT', ARGV[3])
