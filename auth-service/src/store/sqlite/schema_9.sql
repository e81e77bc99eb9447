-- From version 8 to 9: what operators do is kept in a log of its own, so that no user displaces it. What they did before stays where it is.
CREATE TABLE audit_operators (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
