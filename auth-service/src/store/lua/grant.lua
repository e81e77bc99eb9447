-- grant, version 2: adds credits.
--
-- ARGV  2 credits  3 request id  4 note  5 who grants  6 the most that an account may hold
-- Returns  {'granted' | 'replayed', entry, available, held, spent, lapsed, granted} · {'reused'} · {'too_much'} · {'none'}
-- Atomicity: one script. Idempotent by request id, for as long as the account is. Needs memory, so it is refused when Redis is full.

if not load_account() then
  return { 'none' }
end
sweep()
local credits = tonumber(ARGV[2])

local function answer(word, entry)
  return commit({
    word, entry, int(acct.available), int(acct.held), int(acct.spent), int(acct.lapsed), int(acct.granted),
  })
end

local before = call('HGET', GRANTS, ARGV[3])
if before then
  local amount, entry = string.match(before, '^1 (%d+) (%d+)$')
  if not amount then
    corrupt('a grant can not be read')
  end
  if tonumber(amount) ~= credits then
    return commit({ 'reused' })
  end
  return answer('replayed', entry)
end
if acct.granted + credits > tonumber(ARGV[6]) then
  return commit({ 'too_much' })
end
acct.available = acct.available + credits
acct.granted = acct.granted + credits
local entry = append('g', credits, ARGV[3], ARGV[5], '-', '- - -', ARGV[4])
put('HSET', GRANTS, ARGV[3], '1 ' .. int(credits) .. ' ' .. int(entry))
return answer('granted', int(entry))
