-- probe, version 1: a write that takes no more room the second time.
--
-- KEYS  1 the probe's key
-- Returns  1
-- By a command that no other script uses: so in Redis's own statistics probes can be told from callers' scripts.
-- Atomicity: one script. Idempotent. Needs memory, so it is refused when Redis is full: that is what it is for.

redis.call('MSET', KEYS[1], '1')
return 1
