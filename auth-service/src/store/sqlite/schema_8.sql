-- From version 7 to 8: when each secret of an API key was used last. Not beside its record, which is longer and would be written with it.
CREATE TABLE api_key_uses (
    account_id TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    used_at_ms INTEGER NOT NULL,
    PRIMARY KEY (account_id, secret_hash)
) STRICT, WITHOUT ROWID;
