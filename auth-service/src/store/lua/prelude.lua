-- What every script on one account begins with (version 2): the time, and how the account's figures are stored.
--
-- KEYS  1 acct  2 due  3 gc  4 log  5 members  6 keys  7 grants  8 user, all under the account's hash tag. Check is given the first two
--       alone: they are all that its quick way touches, and each one costs every call. It names the others after the first, in account.lua.
-- ARGV  1 now in ms, or '' for Redis's own clock
--
-- Before this stands a line that the process writes when it loads the scripts: its limits, as HOLD_TTL and FORGET_AFTER (ms), BATCH (most
-- holds swept by one call), MAX_OPEN and MAX_REMEMBERED. They never change while it runs, so no call has to bring them.

local call, format = redis.call, string.format
local ACCT, DUE = KEYS[1], KEYS[2]

local NOW
if ARGV[1] ~= '' then
  NOW = tonumber(ARGV[1])
else
  local time = call('TIME')
  NOW = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The field `figures` of acct: a version, 1, and ten doubles, which hold whole numbers exactly up to 2^53. In their order:
--   available held spent lapsed granted: whole credits
--   next_due next_gc: lower bounds of the first score in `due` and `gc`, in ms
--   entries: ledger entries so far      open, remembered: holds of either kind
-- Packed because Check reads and writes them on each call: as fields of their own they would take it twice as long.
--
-- The field `access` of acct counts the changes of who may spend from this account, and how: every script that takes a right from a key
-- or a member counts it up.
local FIGURES, FIGURES_VERSION, FIGURES_SIZE = '<Bdddddddddd', 1, 81
