-- ledger, version 1: a part of an account's ledger, and the checkpoint that stands for what is no longer kept of it.
--
-- KEYS  1 acct  2 log
-- ARGV  1 now  2 XRANGE or XREVRANGE  3 from, 4 to (ids)  5 how many entries at most
-- Returns  {now, checkpoint, entries}
-- Atomicity: one script, which writes nothing: what is folded meanwhile is in it once. Works when Redis is full.

return { NOW, call('HGET', KEYS[1], 'checkpoint'), call(ARGV[2], KEYS[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5]) }
