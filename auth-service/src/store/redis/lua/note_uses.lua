-- note_uses, version 1: notes that secrets of an account's API keys were used now.
--
-- KEYS  1 keys  2 used
-- ARGV  1 now, then SHA-256 of each secret
-- Returns  1
-- Atomicity: one script. Of a secret that is no longer kept nothing is noted, so that nothing is left of it. The rights version stays: this
-- is no right. Not when Redis is full: it's a note.

local now = string.format('%d', NOW)
for i = 2, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    redis.call('HSET', KEYS[2], ARGV[i], now)
  end
end
return 1
