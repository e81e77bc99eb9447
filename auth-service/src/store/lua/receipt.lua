-- receipt, version 1: what became of a request, after what is due.
--
-- ARGV  5 hold id
-- Returns  {'open', open hold} · {'done', resolved hold} · {'none'}
-- Atomicity: one script. Works when Redis is full.

if not load_account() then
  return { 'none' }
end
sweep()
local open = read_open(ARGV[5])
if open then
  return commit({ 'open', open })
end
local done = read_done(ARGV[5])
if done then
  return commit({ 'done', done })
end
return commit({ 'none' })
