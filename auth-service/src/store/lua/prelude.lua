-- What every script on accounts begins with (version 2): the time, and how the account's figures are stored.
--
-- KEYS  1 acct  2 queue  3 due  4 gc  5 log  6 members  7 keys  8 grants  9 user, all under the account's hash tag. Check takes others.
-- ARGV  1 now in ms, or '' for Redis's own clock
--
-- Before this stands a line that the process writes when it loads the scripts: its limits, as HOLD_TTL and FORGET_AFTER (ms), BATCH (most
-- holds swept by one call), MAX_OPEN and MAX_REMEMBERED. They never change while it runs, so no call has to bring them.

local call, format = redis.call, string.format
local ACCT, QUEUE = KEYS[1], KEYS[2]

local NOW
if ARGV[1] ~= '' then
  NOW = tonumber(ARGV[1])
else
  local time = call('TIME')
  NOW = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The field `figures` of acct: a version, 2, and eleven doubles, which hold whole numbers exactly up to 2^53. In their order:
--   available held spent lapsed granted: whole credits
--   next_due: no open hold expires before it, in ms      next_gc: a lower bound of the first score in `gc`, in ms
--   entries: ledger entries so far      open, remembered: holds of either kind      queued: when the last hold in `queue` expires, in ms
-- Packed because Check reads and writes them on each call: as fields of their own they would take it twice as long.
--
-- The field `access` of acct counts the changes of who may spend from this account, and how: every script that takes a right from a key
-- or a member counts it up.
local FIGURES, FIGURES_VERSION, FIGURES_SIZE = '<Bddddddddddd', 2, 89

-- An open hold is found by its expiry in one of two places, as the first letter of its text says:
--   1o  in `queue`, a list of ids that is in the order of the expiries, because holds live equally long. A new hold is written there:
--       a sorted set costs Redis three times as much. It also holds ids of holds that were resolved or extended since; they are dropped by
--       settlements now and then, and when what is due is looked for.
--   1x  in `due`, a sorted set with the expiry as score: what was extended, or would not be in order at the end of the queue.
