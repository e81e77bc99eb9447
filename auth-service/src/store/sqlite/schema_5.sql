-- Version 5: the whole schema, for new files and for those of earlier versions. A later version is a step of its own, for both.
-- Credits and tokens are whole numbers; times are milliseconds since 1970. Records that only Rust reads are messages of store/records.rs.
CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    user_name TEXT NOT NULL UNIQUE,
    record BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    account_id TEXT PRIMARY KEY,
    available INTEGER NOT NULL CHECK (available >= 0),
    held INTEGER NOT NULL CHECK (held >= 0),
    spent INTEGER NOT NULL CHECK (spent >= 0),
    lapsed INTEGER NOT NULL CHECK (lapsed >= 0),
    granted INTEGER NOT NULL CHECK (granted = available + held + spent + lapsed),
    last_entry INTEGER NOT NULL,
    -- Counted here, because counting rows takes as long as there are rows.
    open_holds INTEGER NOT NULL CHECK (open_holds >= 0),
    remembered INTEGER NOT NULL CHECK (remembered >= 0),
    -- Counts the changes of what keys and members may do.
    rights_version INTEGER NOT NULL,
    -- No open hold is due before it.
    next_due_ms INTEGER NOT NULL,
    -- No resolved request is to be forgotten before it.
    next_forget_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
    account_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (account_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of_user ON members (user_id);

CREATE TABLE api_keys (
    account_id TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (account_id, secret_hash)
) STRICT, WITHOUT ROWID;

-- Open holds and remembered requests. Rows lie in the order of the request ids, whosever they are: those that are counted, or begin with
-- the time, as ours do, are written side by side at the end, and not on a page of their own each.
CREATE TABLE holds (
    request_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    digest TEXT NOT NULL, -- of the request id. Of two holds with the same time, the lesser (user id, digest) goes first.
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
-- In the order of time, whosever they are, so that new ones are written side by side here too. An account's own are picked out of all that
-- are open, by this index alone: for that it has the state, and the key of the table.
CREATE INDEX holds_due ON holds (expires_at_ms, user_id, digest, state) WHERE state = 0;
CREATE INDEX holds_to_forget ON holds (account_id, forget_at_ms, user_id, digest) WHERE forget_at_ms IS NOT NULL;

-- The append-only ledger.
CREATE TABLE ledger (
    account_id TEXT NOT NULL,
    entry INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    available INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    detail BLOB NOT NULL,
    PRIMARY KEY (account_id, entry)
) STRICT, WITHOUT ROWID;

CREATE TABLE grants (
    account_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    credits INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (account_id, request_id)
) STRICT, WITHOUT ROWID;
