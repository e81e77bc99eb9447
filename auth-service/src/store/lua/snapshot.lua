-- snapshot, version 1: everything about an account's credits, as it is: not swept.
--
-- KEYS, ARGV  as in account.lua, which it does without
-- Returns  {{available, held, spent, lapsed, granted}, open holds, resolved holds, ledger entries as XRANGE has them}; the figures are nil when
--          there is no such account
-- Atomicity: one script, which writes nothing. Reads all there is: not for the hot path. Works when Redis is full.

return {
  redis.call('HMGET', KEYS[1], 'available', 'held', 'spent', 'lapsed', 'granted'),
  redis.call('HVALS', KEYS[4]),
  redis.call('HVALS', KEYS[6]),
  redis.call('XRANGE', KEYS[8], '-', '+'),
}
