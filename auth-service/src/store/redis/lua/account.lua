-- How an account is stored (version 1), for the scripts that write it.
--
-- Before this stands a line that the process writes when it loads the scripts: its limits, as HOLD_TTL and FORGET_AFTER (ms), BATCH,
-- MAX_OPEN, MAX_REMEMBERED and MAX_CREDITS. They never change while it runs, so no call has to bring them.
--
-- acct     hash. Its field `counters`: a version and eleven doubles, which hold whole numbers exactly up to 2^53:
--            available held spent lapsed granted  credits
--            next_due      no open hold expires before it, in ms
--            next_forget   no request is to be forgotten before it, in ms
--            entries       ledger entries so far
--            open          open holds
--            remembered    resolved requests
--            rights_version  counts the changes of who may spend from this account, and how
--          Its other fields: a hold or request by its id, a grant by `g.` and its request id. Each is a head (HEAD: version, state, expiry
--          in ms, credits, input tokens, output tokens, bytes of the terms; HEAD_OUTCOME, of what isn't open, also: charged, available
--          right after, ledger entry, time in ms), then the terms and the rest. Only Rust reads these two.
-- due      sorted set: id of each open hold, by its expiry
-- forget_at  sorted set: id of each resolved request, by the time at which it is forgotten
-- log      stream: the ledger, entry n under n-0. Its field `e`: figures (ENTRY_FIGURES: version, credits, available, time in ms), and what
--          Rust reads
-- members  hash: what Rust reads, by user id
-- keys     hash: the user's id and what Rust reads, by SHA-256 of the key's secret
-- user     text: what Rust reads

local pack, unpack_struct, min = struct.pack, struct.unpack, math.min
local sub, find, format = string.sub, string.find, string.format
local COUNTERS, COUNTERS_SIZE, VERSION = '<Bddddddddddd', 89, 1
local HEAD, HEAD_SIZE, HEAD_OUTCOME, ENTRY_FIGURES = '<BBddI4I4H', 28, '<BBddI4I4Hdddd', '<Bddd'
-- States: resolved holds have 1 to 4.
local OPEN, GRANT = 0, 5
-- When nothing is due, or to be forgotten, ever.
local NEVER = 9007199254740991
