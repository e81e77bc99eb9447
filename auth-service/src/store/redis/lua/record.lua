-- record, version 1: appends an audit event to a log that keeps the newest ones.
--
-- KEYS  1 the log (a stream)
-- ARGV  1 now  2 how many are kept  3 the event
-- Returns  1
-- Atomicity: one script. Run twice it appends twice: the same happened, and is listed two times. Works when Redis is full: it is bounded.

call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'e', struct.pack('<d', NOW) .. ARGV[3])
return 1
