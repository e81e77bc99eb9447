-- balance, version 2: an account's figures, after what is due.
--
-- Returns  {available, held, spent, lapsed, granted}, or {} when there is no such account
-- Atomicity: one script. Works when Redis is full.

if not load_account() then
  return {}
end
sweep()
return commit({ int(acct.available), int(acct.held), int(acct.spent), int(acct.lapsed), int(acct.granted) })
