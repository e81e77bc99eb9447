-- A file as the release wrote it whose schema was version 4, when all was columns.
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

INSERT INTO users VALUES ('AdaLovelace00001', 'ada', '$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA', 'Ada Lovelace', 'ada@example.org', 'user', 0, 0, 1699999980500);
INSERT INTO users VALUES ('RootAdmin0000001', '-root', '$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA', '', '', 'admin', 1, 1699999994500, 1699999970500);
INSERT INTO accounts VALUES ('AdaLovelace00001', 78, 12, 15, 0, 105, 8, 2, 5, 1, 1700000052500);
INSERT INTO accounts VALUES ('RootAdmin0000001', 0, 0, 0, 0, 0, 0, 0, 0, 1, 0);
INSERT INTO members VALUES ('AdaLovelace00001', 'AdaLovelace00001');
INSERT INTO members VALUES ('RootAdmin0000001', 'RootAdmin0000001');
INSERT INTO api_keys VALUES ('AdaLovelace00001', x'0101010101010101010101010101010101010101010101010101010101010101', 'Key000000001', 'AdaLovelace00001', 'laptop, of "Ada"', 'tg_AdaL…wxyz', '["inference","account"]', '["Llama*","a, \"b\""]', 1699999985500, NULL, NULL);
INSERT INTO api_keys VALUES ('AdaLovelace00001', x'0202020202020202020202020202020202020202020202020202020202020202', 'Key000000002', 'AdaLovelace00001', '', 'tg_AdaL…wxyz', '["models","inference"]', '[]', 1699999986500, NULL, 1699999995500);
INSERT INTO api_keys VALUES ('AdaLovelace00001', x'0303030303030303030303030303030303030303030303030303030303030303', 'Key000000003', 'AdaLovelace00001', 'ended', 'tg_AdaL…wxyz', '["inference"]', '[]', 1699999987500, 1699999998500, NULL);
INSERT INTO holds VALUES ('AdaLovelace00001', 'AdaLovelace00001.2348f998744212575d85959674f9607a', 'AdaLovelace00001', NULL, 'open', 'a', 'f00d', 'llama3', 1, 0, 1000, 11, 100, 10, 7, 4, 1, 1700000060500, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0);
INSERT INTO holds VALUES ('AdaLovelace00001', 'AdaLovelace00001.b4c9e14061c2fd453b36700e3b0da008#3', 'AdaLovelace00001', 'Key000000001', 'again', 'a', 'f00d', 'llama3', 1, 0, 0, 1, 100, 200, 0, 0, 0, 1700000050500, 'refunded', 'nothing_generated', 0, 0, 96, 3, 1699999991500, 1700003591500, 3);
INSERT INTO holds VALUES ('AdaLovelace00001', 'AdaLovelace00001.b4c9e14061c2fd453b36700e3b0da008#4', 'AdaLovelace00001', 'Key000000001', 'again', 'b', 'f00d', 'llama3', 1, 0, 0, 1, 100, 200, 0, 0, 0, 1700000051500, 'refunded', 'nothing_generated', 0, 0, 96, 4, 1699999992500, 1700003592500, 4);
INSERT INTO holds VALUES ('AdaLovelace00001', 'AdaLovelace00001.b4c9e14061c2fd453b36700e3b0da008', 'AdaLovelace00001', 'Key000000001', 'again', 'c', 'f00d', 'llama3', 1, 0, 0, 1, 100, 200, 0, 0, 0, 1700000052500, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0);
INSERT INTO holds VALUES ('AdaLovelace00001', 'AdaLovelace00001.d31e014808ecdd2af298adba9ed7b502', 'AdaLovelace00001', NULL, 'settled', 'a', 'f00d', 'llama3', 1, 0, 1000, 11, 100, 10, 7, 3, 0, 1700000050500, 'settled', 'completed', 4, 0, 96, 2, 1699999990500, 1700003590500, 0);
INSERT INTO holds VALUES ('AdaLovelace00001', 'AdaLovelace00001.fa64ea1e82e1206f828ab2a02917c7e9', 'AdaLovelace00001', 'Key000000002', 'expired', 'a', 'f00d', 'llama3', 1, 0, 1000, 11, 100, 10, 7, 3, 0, 1699999996500, 'expired', NULL, 3, 0, 98, 6, 1699999996500, 1700003596500, 0);
INSERT INTO holds VALUES ('AdaLovelace00001', 'AdaLovelace00001.089001a35679a33ef3db0ca350db9b9a', 'AdaLovelace00001', NULL, 'late', 'a', 'f00d', 'llama3', 1, 0, 1000, 11, 100, 10, 7, 10, 1, 1699999997500, 'settled_late', 'cancelled', 8, 3, 78, 8, 1699999999500, 1700003599500, 0);
INSERT INTO ledger VALUES ('AdaLovelace00001', 1, NULL, 100, 100, 'starting-credits', 'AdaLovelace00001', NULL, '', NULL, NULL, NULL, 1699999980500, 'starting credits');
INSERT INTO ledger VALUES ('AdaLovelace00001', 2, 'settled', -4, 96, 'settled', 'AdaLovelace00001', NULL, 'llama3', 7, 3, 0, 1699999990500, '');
INSERT INTO ledger VALUES ('AdaLovelace00001', 3, 'refunded', 0, 96, 'again', 'AdaLovelace00001', 'Key000000001', 'llama3', 0, 0, 0, 1699999991500, '');
INSERT INTO ledger VALUES ('AdaLovelace00001', 4, 'refunded', 0, 96, 'again', 'AdaLovelace00001', 'Key000000001', 'llama3', 0, 0, 0, 1699999992500, '');
INSERT INTO ledger VALUES ('AdaLovelace00001', 5, NULL, 5, 101, 'g 1', 'RootAdmin0000001', NULL, '', NULL, NULL, NULL, 1699999993500, 'thank you, 100 % "really"');
INSERT INTO ledger VALUES ('AdaLovelace00001', 6, 'expired', -3, 98, 'expired', 'AdaLovelace00001', 'Key000000002', 'llama3', 7, 3, 0, 1699999996500, '');
INSERT INTO ledger VALUES ('AdaLovelace00001', 7, 'expired', -2, 84, 'late', 'AdaLovelace00001', NULL, 'llama3', 7, 2, 0, 1699999997500, '');
INSERT INTO ledger VALUES ('AdaLovelace00001', 8, 'settled_late', -6, 78, 'late', 'AdaLovelace00001', NULL, 'llama3', 7, 10, 1, 1699999999500, '');
INSERT INTO grants VALUES ('AdaLovelace00001', 'starting-credits', 100, 1);
INSERT INTO grants VALUES ('AdaLovelace00001', 'g 1', 5, 5);
PRAGMA user_version = 4;
