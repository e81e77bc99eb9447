-- receipt, version 2: what became of a request, after what is due.
--
-- ARGV  2 hold id
-- Returns  {'open', open hold} · {'done', resolved hold} · {'none'}
-- Atomicity: one script. Works when Redis is full.

if not load_account() then
  return { 'none' }
end
sweep()
local text = read_hold(ARGV[2])
if not text then
  return commit({ 'none' })
end
if unpack_hold(text).state then
  return commit({ 'done', text })
end
return commit({ 'open', text })
