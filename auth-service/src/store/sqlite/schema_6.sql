-- From version 5 to 6: the rights version is random, charged requests are counted apart from those that cost nothing, refunds have a
-- bucket, and an account's due holds are found among its own.
CREATE TABLE accounts_6 (
    account_id TEXT PRIMARY KEY,
    available INTEGER NOT NULL CHECK (available >= 0),
    held INTEGER NOT NULL CHECK (held >= 0),
    spent INTEGER NOT NULL CHECK (spent >= 0),
    lapsed INTEGER NOT NULL CHECK (lapsed >= 0),
    granted INTEGER NOT NULL CHECK (granted = available + held + spent + lapsed),
    last_entry INTEGER NOT NULL,
    -- Counted here, because counting rows takes as long as there are rows.
    open_holds INTEGER NOT NULL CHECK (open_holds >= 0),
    paid INTEGER NOT NULL CHECK (paid >= 0), -- resolved requests that were charged
    free INTEGER NOT NULL CHECK (free >= 0), -- and those that cost nothing
    -- Until when the refunds reach: the token bucket.
    refunds_until_ms INTEGER NOT NULL,
    -- 8 random bytes, drawn anew at each change of what keys and members may do.
    rights_version BLOB NOT NULL,
    -- No open hold is due before it.
    next_due_ms INTEGER NOT NULL,
    -- No resolved request is to be forgotten before it.
    next_forget_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO accounts_6 SELECT account_id, available, held, spent, lapsed, granted, last_entry, open_holds,
    coalesce(paid, 0), coalesce(free, 0), 0, randomblob(8), next_due_ms, next_forget_ms
FROM accounts LEFT JOIN (
    SELECT account_id, count(*) FILTER (WHERE charged_credits > 0) AS paid, count(*) FILTER (WHERE charged_credits = 0) AS free
    FROM holds WHERE state <> 0 GROUP BY account_id
) USING (account_id);
DROP TABLE accounts;
ALTER TABLE accounts_6 RENAME TO accounts;

-- Without the digests of request ids, which took a third of what is written of a hold.
CREATE TABLE holds_6 (
    request_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    state INTEGER NOT NULL, -- 0: open; else the number of the resolution
    terms BLOB NOT NULL, -- the bytes of the hold's handle
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    ending BLOB NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    -- What follows is set once it is resolved.
    charged_credits INTEGER,
    remaining_credits INTEGER,
    ledger_entry INTEGER,
    resolved_at_ms INTEGER,
    forget_at_ms INTEGER,
    PRIMARY KEY (request_id, account_id, user_id)
) STRICT, WITHOUT ROWID;
INSERT INTO holds_6 SELECT request_id, account_id, user_id, state, terms, input_tokens, output_tokens, ending, expires_at_ms,
    charged_credits, remaining_credits, ledger_entry, resolved_at_ms, forget_at_ms FROM holds;
DROP TABLE holds;
ALTER TABLE holds_6 RENAME TO holds;
CREATE INDEX holds_to_forget ON holds (account_id, charged_credits > 0, forget_at_ms, request_id, user_id)
    WHERE forget_at_ms IS NOT NULL;
-- The state is in it so that the table need not be looked into.
CREATE INDEX holds_due ON holds (account_id, expires_at_ms, request_id, user_id, state) WHERE state = 0;

-- What stands for an account's oldest ledger entries, once they were exported and folded. Not beside the credits, which every call writes.
CREATE TABLE checkpoints (
    account_id TEXT PRIMARY KEY,
    record BLOB NOT NULL
) STRICT, WITHOUT ROWID;
-- A key's record may be longer than a quarter of a page, and would take a page of its own in a table without row ids.
CREATE TABLE api_keys_6 (
    account_id TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (account_id, secret_hash)
) STRICT;
INSERT INTO api_keys_6 SELECT account_id, secret_hash, record FROM api_keys;
DROP TABLE api_keys;
ALTER TABLE api_keys_6 RENAME TO api_keys;
