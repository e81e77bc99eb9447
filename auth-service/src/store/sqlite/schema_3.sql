-- From version 2 to 3: holds lie in the order of their request ids. What was laid aside had a `#` in its hold id.
CREATE TABLE holds_3 (
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
INSERT INTO holds_3
SELECT
    account_id, hold_id, user_id, key_id, request_id, attempt_id, fingerprint, model, per_call, per_1k_input_tokens,
    per_1k_output_tokens, held_credits, max_input_tokens, max_output_tokens, input_tokens, output_tokens, estimated,
    expires_at_ms, resolution, outcome, charged_credits, uncollected_credits, remaining_credits, ledger_entry,
    resolved_at_ms, forget_at_ms,
    iif(instr(hold_id, '#') > 0, ledger_entry, 0)
FROM holds;
DROP TABLE holds;
ALTER TABLE holds_3 RENAME TO holds;
CREATE INDEX holds_due ON holds (account_id, expires_at_ms, hold_id) WHERE resolution IS NULL;
CREATE INDEX holds_to_forget ON holds (account_id, forget_at_ms, hold_id) WHERE resolution IS NOT NULL;
