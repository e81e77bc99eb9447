-- Version 4. Credits and tokens are whole numbers; times are milliseconds since 1970.
CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    user_name TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    full_name TEXT NOT NULL,
    email TEXT NOT NULL,
    role TEXT NOT NULL,
    disabled INTEGER NOT NULL,
    tokens_valid_from_ms INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL
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
    -- Counts the changes that take a right from a key or a member.
    access INTEGER NOT NULL DEFAULT 0,
    -- No open hold is due before it.
    next_due_ms INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
    account_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (account_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    account_id TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    key_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    hint TEXT NOT NULL,
    scopes TEXT NOT NULL, -- JSON
    models TEXT NOT NULL, -- JSON
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    revoked_at_ms INTEGER,
    PRIMARY KEY (account_id, secret_hash)
) STRICT, WITHOUT ROWID;

-- Open holds (resolution is null) and remembered requests. Rows lie in the order of the request ids, whosever they are: those that are counted,
-- or begin with the time, as ours do, are written side by side at the end, and not on a page of their own each.
CREATE TABLE holds (
    account_id TEXT NOT NULL,
    hold_id TEXT NOT NULL, -- which one of two goes first that expire, or are forgotten, at the same time
    user_id TEXT NOT NULL,
    key_id TEXT,
    request_id TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    model TEXT NOT NULL,
    per_call INTEGER NOT NULL,
    per_1k_input_tokens INTEGER NOT NULL,
    per_1k_output_tokens INTEGER NOT NULL,
    held_credits INTEGER NOT NULL,
    max_input_tokens INTEGER NOT NULL,
    max_output_tokens INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    resolution TEXT,
    outcome TEXT,
    charged_credits INTEGER,
    uncollected_credits INTEGER,
    remaining_credits INTEGER,
    ledger_entry INTEGER,
    resolved_at_ms INTEGER,
    forget_at_ms INTEGER,
    -- 0, or its ledger entry once a refunded request was held again.
    laid_aside INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (request_id, account_id, user_id, laid_aside)
) STRICT, WITHOUT ROWID;
-- In the order of time, whosever they are, so that new ones are written side by side here too. An account's own are picked out of all that
-- are open, by this index alone: for that it has the resolution, which is null, and the key of the table.
CREATE INDEX holds_due ON holds (expires_at_ms, hold_id, resolution) WHERE resolution IS NULL;
CREATE INDEX holds_to_forget ON holds (account_id, forget_at_ms, hold_id) WHERE resolution IS NOT NULL;

-- The append-only ledger.
CREATE TABLE ledger (
    account_id TEXT NOT NULL,
    entry INTEGER NOT NULL,
    resolution TEXT, -- null: a grant
    credits INTEGER NOT NULL,
    available INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    key_id TEXT,
    model TEXT NOT NULL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    estimated INTEGER,
    at_ms INTEGER NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (account_id, entry)
) STRICT, WITHOUT ROWID;

CREATE TABLE grants (
    account_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    credits INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (account_id, request_id)
) STRICT, WITHOUT ROWID;
