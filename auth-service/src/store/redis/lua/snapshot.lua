-- snapshot, version 2: everything about an account's credits, as it is.
--
-- KEYS  1 acct  2 due  3 paid  4 free  5 log  6 usage
-- Returns  {fields of acct, ids of open holds with their expiries, lengths of paid and of free, ledger, fields of usage}
-- Atomicity: one script, which writes nothing. Reads all there is: not for the hot path. Works when Redis is full.

return {
  call('HGETALL', KEYS[1]),
  call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES'),
  call('LLEN', KEYS[3]),
  call('LLEN', KEYS[4]),
  call('XRANGE', KEYS[5], '-', '+'),
  call('HGETALL', KEYS[6]),
}
