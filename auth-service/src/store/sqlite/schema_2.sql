-- From version 1 to 2. No account is swept too late: 0 is a time that has passed.
ALTER TABLE accounts ADD COLUMN access INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN next_due_ms INTEGER NOT NULL DEFAULT 0;
