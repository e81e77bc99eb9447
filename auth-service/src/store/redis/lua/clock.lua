-- What every script begins with: the time.
--
-- ARGV  1 now in ms, or '' for Redis's own clock

local call = redis.call
local NOW
if ARGV[1] ~= '' then
  NOW = tonumber(ARGV[1])
else
  local time = call('TIME')
  NOW = time[1] * 1000 + math.floor(time[2] / 1000)
end
