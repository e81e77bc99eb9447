-- How an account is stored (version 1), for the scripts that write it.
--
-- Before this stands a line that the process writes when it loads the scripts: its limits, as HOLD_TTL and FORGET_AFTER (ms), BATCH,
-- MAX_OPEN, MAX_PAID, MAX_FREE, REFUND_EVERY, REFUNDS_AHEAD and REFUNDS_FARTHEST (ms), MAX_CREDITS, MAX_OPERATORS, MAX_CHANGES and
-- MAX_REVOCATIONS; and AUDIT_OPERATORS, a stream outside of the account's slot. They never change while it runs, so no call has to bring
-- them.
--
-- acct     hash. Its field `counters`: a version, twelve doubles, which hold whole numbers exactly up to 2^53, and the rights version:
--            available held spent lapsed granted  credits
--            next_due      no open hold expires before it, in ms
--            next_forget   no request is to be forgotten before it, in ms
--            entries       ledger entries so far
--            open          open holds
--            paid, free    resolved requests that are remembered: charged ones, and those that cost nothing
--            refunds_until  the token bucket of refunds, as a time in ms. Each refund moves it on by REFUND_EVERY, from now if it lies
--                          behind. While it is ahead by more than REFUNDS_AHEAD, nothing is held. It can't be ahead by more than
--                          REFUNDS_FARTHEST: then the clock went back, and the bucket is full.
--            rights_version  8 random bytes, drawn anew at each change of who may spend from this account, and how
--          Its other fields: a hold or request by its id, a grant by `g.` and its request id. Each is a head (HEAD: version, state, expiry
--          in ms, credits, input tokens, output tokens, bytes of the terms; HEAD_OUTCOME, of what isn't open, also: charged, available
--          right after, ledger entry, time in ms), then the terms and the rest. Only Rust reads these two. And `checkpoint`, which Rust
--          reads: what stands for the log's oldest entries, once they were folded.
-- due      sorted set: id of each open hold, by its expiry
-- paid, free  lists: each resolved request, in the order of resolution: the time in ms as a double, and the id
-- log      stream: the ledger, entry n under n-0. Its field `e`: figures (ENTRY_FIGURES: version, credits, available, time in ms), and what
--          Rust reads
-- members  hash: what Rust reads, by user id. In a user's own account their state; in an organization's, places in it, also of service
--          accounts
-- usage    hash: what each principal of an organization spent in a month, and holds, by their id (USAGE of move.lua: version, the month's
--          beginning in ms, credits, credits)
-- keys     hash: the user's id and what Rust reads, by SHA-256 of the key's secret
-- used     hash: when a secret was used last, in ms, by SHA-256 of it
-- user     text: what Rust reads
-- sessions  hash: what Rust reads, by session id; of the user whose own account it is
-- orgs     hash: what Rust reads, by an organization's account id; of the user whose own account it is
-- org      text: what Rust reads; of an organization
-- invitations  hash: what Rust reads, by invitation id; of an organization
--
-- Beside accounts, in no slot of theirs (`keys.rs`): the audit log's three streams, and that of revocations. Each entry's field `e` is the
-- time in ms as a double, and what Rust reads.

local pack, unpack_struct, min = struct.pack, struct.unpack, math.min
local sub, find, format = string.sub, string.find, string.format
local COUNTERS, COUNTERS_SIZE, VERSION = '<Bddddddddddddc8', 105, 1
local HEAD, HEAD_SIZE, HEAD_OUTCOME, ENTRY_FIGURES = '<BBddI4I4H', 28, '<BBddI4I4Hdddd', '<Bddd'
-- States: resolved holds have 1 to 4.
local OPEN, GRANT = 0, 5
-- When nothing is due, or to be forgotten, ever.
local NEVER = 9007199254740991
