-- The quick way through check (version 3), for callers whose rights this process has read before and found sufficient. It stands before
-- account.lua and check.lua, which do the same in full, and leaves to them every request for which anything is not as simple as it can be.
--
-- ARGV  as in check.lua. It is taken when a request's first, the account's `access` when the rights were read, is still the account's: whatever
--       takes a right from a key or a member counts that up in the same script. So nothing is decided by what was remembered: this script
--       decides, and a revocation that has answered is seen by the next call.
--       It doesn't forget requests whose time is over, as check doesn't when nothing depends on it.
-- Returns  as check.lua, when nothing is left to it

local EXPIRES, REQUESTS = NOW + HOLD_TTL, #KEYS / 2
local OPENED = format('1o %d ', EXPIRES)
local answers, left = { EXPIRES }, false
for i = 1, REQUESTS do
  local acct, at, answer = KEYS[2 * i - 1], 6 * i - 4, false
  if ARGV[at] ~= '' and (ARGV[at + 5] == '' or NOW < tonumber(ARGV[at + 5])) then
    local id = ARGV[at + 1]
    local stored = call('HMGET', acct, 'figures', id, 'access')
    if stored[1] and not stored[2] and stored[3] == ARGV[at] and #stored[1] == FIGURES_SIZE then
      local version, available, held, spent, lapsed, granted, next_due, next_gc, entries, open, remembered, queued =
        struct.unpack(FIGURES, stored[1])
      local price = tonumber(ARGV[at + 2])
      if version == FIGURES_VERSION and NOW < next_due and price <= available and open < MAX_OPEN and remembered + BATCH < MAX_REMEMBERED
        and granted == available + held + spent + lapsed and held >= 0 and spent >= 0 and lapsed >= 0
        and EXPIRES >= queued and FORGET_AFTER >= HOLD_TTL then
        if EXPIRES < next_due then
          next_due = EXPIRES
        end
        answer = available - price
        local figures = struct.pack(FIGURES, version, answer, held + price, spent, lapsed, granted, next_due, next_gc, entries, open + 1,
          remembered, EXPIRES)
        call('HSET', acct, 'figures', figures, id, OPENED .. ARGV[at + 3])
        call('RPUSH', KEYS[2 * i], id)
      end
    end
  end
  answers[i + 1] = answer
  left = left or not answer
end
if not left then
  return answers
end
