-- snapshot, version 1: everything about an account's credits, as it is.
--
-- KEYS  1 acct  2 due  3 forget_at  4 log
-- Returns  {fields of acct, ids of open holds with their expiries, number of ids to be forgotten, ledger}
-- Atomicity: one script, which writes nothing. Reads all there is: not for the hot path. Works when Redis is full.

return {
  call('HGETALL', KEYS[1]),
  call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES'),
  call('ZCARD', KEYS[3]),
  call('XRANGE', KEYS[4], '-', '+'),
}
