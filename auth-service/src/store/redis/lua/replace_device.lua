-- replace_device, version 1: replaces the sign-in of a device, when it is as it was read.
--
-- KEYS  1 the sign-in
-- ARGV  1 as it was read  2 what takes its place  3 in how many ms Redis may drop it
-- Returns  1, or 0 when it isn't as it was: nothing was written
-- Atomicity: one script.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
