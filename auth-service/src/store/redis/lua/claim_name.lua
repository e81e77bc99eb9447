-- claim_name, version 2: takes a user name for a user who is about to be made.
--
-- KEYS  1 the name (a slot of its own)
-- ARGV  1 now  2 user id  3 the claim that may be replaced, or ''
-- Returns  {'claimed', claim} · {'taken', claim that stands, its age in ms}; a claim is `user id|time in ms`
-- Atomicity: one script. Idempotent by user id. Needs memory, so it is refused when Redis is full.

local claim = call('GET', KEYS[1])
if claim and claim ~= ARGV[3] then
  local user, at = string.match(claim, '^(%w+)|(%d+)$')
  if not user then
    return redis.error_reply('TGCORRUPT the claim of a user name can not be read')
  end
  if user ~= ARGV[2] then
    return { 'taken', claim, string.format('%d', NOW - tonumber(at)) }
  end
  return { 'claimed', claim }
end
claim = ARGV[2] .. '|' .. string.format('%d', NOW)
call('SET', KEYS[1], claim)
return { 'claimed', claim }
