-- The quick way through check (version 2), for a caller whose rights this process has read before and found sufficient. It stands before
-- account.lua and check.lua, which do the same in full, and gives way to them whenever anything is not as simple as it can be.
--
-- ARGV  as in check.lua. It is taken when 2, the account's `access` when the rights were read, is still the account's: whatever takes
--       a right from a key or a member counts that up in the same script. So nothing is decided by what was remembered: this script decides, and
--       a revocation that has answered is seen by the next call.
--       It doesn't forget requests whose time is over, as check doesn't when nothing depends on it.
-- Returns  {available, expiry in ms}: the hold was made as asked, at the whole price

if ARGV[2] ~= '' and (not ARGV[7] or NOW < tonumber(ARGV[7])) then
  local stored = call('HMGET', ACCT, 'figures', ARGV[3], 'access')
  if stored[1] and not stored[2] and stored[3] == ARGV[2] and #stored[1] == FIGURES_SIZE then
    local version, available, held, spent, lapsed, granted, next_due, next_gc, entries, open, remembered, queued =
      struct.unpack(FIGURES, stored[1])
    local price, expires = tonumber(ARGV[4]), NOW + HOLD_TTL
    if version == FIGURES_VERSION and NOW < next_due and price <= available and open < MAX_OPEN and remembered + BATCH < MAX_REMEMBERED
      and granted == available + held + spent + lapsed and held >= 0 and spent >= 0 and lapsed >= 0
      and expires >= queued and FORGET_AFTER >= HOLD_TTL then
      if expires < next_due then
        next_due = expires
      end
      available = available - price
      local figures = struct.pack(FIGURES, version, available, held + price, spent, lapsed, granted, next_due, next_gc, entries, open + 1,
        remembered, expires)
      call('HSET', ACCT, 'figures', figures, ARGV[3], format('1o %d %s', expires, ARGV[5]))
      call('RPUSH', QUEUE, ARGV[3])
      return { available, expires }
    end
  end
end
