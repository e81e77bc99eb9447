-- user, version 2: all that decides about a user's sessions, state and password, at one moment.
--
-- KEYS  1 acct  2 user  3 members  4 sessions  5 second_factor
-- ARGV  1 now  2 the user's id
-- Returns  {now, counters, user, member, sessions as id, record, …, second factor}
-- Atomicity: one script, which writes nothing. Works when Redis is full, where a transaction of plain commands is refused.

return {
  NOW,
  call('HGET', KEYS[1], 'counters'),
  call('GET', KEYS[2]),
  call('HGET', KEYS[3], ARGV[2]),
  call('HGETALL', KEYS[4]),
  call('GET', KEYS[5]),
}
