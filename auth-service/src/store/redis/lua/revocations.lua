-- revocations, version 1: what was revoked after a place in the stream.
--
-- KEYS  1 revocations
-- ARGV  1 the id of the entry that was read last, '0-0' where the stream was empty, or '' to begin at its end  2 how many at most
-- Returns  {gap, end, entries}: 1 when entries behind that place may be missing; the id of the stream's last entry, or '0-0'; and the
--          entries, as XRANGE has them
-- Atomicity: one script. Only reads.
-- The entry that was read last must still be there: else those behind it may have been trimmed too, or a failover has lost it, and put
-- others in its place whose ids are no higher. Where none had been read, nothing may have been trimmed.

local from, most = ARGV[1], tonumber(ARGV[2])
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local last_id = last and last[1] or '0-0'
if from == '' or from == last_id then
  return { 0, last_id, {} }
end
local first = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', most + 1)
if from ~= '0-0' then
  if not first[1] or first[1][1] ~= from then
    return { 1, last_id, {} }
  end
  table.remove(first, 1)
  return { 0, last_id, first }
end
local added = 0
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'entries-added' then
    added = info[i + 1]
  end
end
if added > redis.call('XLEN', KEYS[1]) then
  return { 1, last_id, {} }
end
first[most + 1] = nil
return { 0, last_id, first }
