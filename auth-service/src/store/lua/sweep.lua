-- sweep, version 2: resolves holds that are due on one account, and forgets requests whose time is over.
--
-- Returns  {holds resolved, '1' when more are due or to be forgotten}
-- Atomicity: one script. Works when Redis is full.

if not load_account() then
  return { '0', '0' }
end
local resolved = sweep()
return commit({ int(resolved), (acct.next_due <= NOW or acct.next_gc <= NOW) and '1' or '0' })
