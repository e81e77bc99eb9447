-- register, version 1: enters an account that is about to be made into the registry, and its user's name into the index of names, or the
-- account into that of organizations.
--
-- KEYS  1 a shard of the registry  2 the index of user names, or that of organizations
-- ARGV  1 the account's id  2 the index's entry
-- Returns  1
-- Atomicity: one script: where the registry is as long as both indexes together, none misses an account of the others.
-- Idempotent. Needs memory, so it is
-- refused when Redis is full.

redis.call('ZADD', KEYS[1], 0, ARGV[1])
redis.call('ZADD', KEYS[2], 0, ARGV[2])
return 1
