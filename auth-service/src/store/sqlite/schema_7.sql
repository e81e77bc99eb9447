-- From version 6 to 7: sessions, and the audit log.
CREATE TABLE sessions (
    user_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (user_id, session_id)
) STRICT;

-- Of each kind, the newest ones. The numbers have no gap, and none comes again: what is too old is found by them.
CREATE TABLE audit_changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
-- Those that failed: so nobody displaces what was changed by guessing.
CREATE TABLE audit_attempts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
