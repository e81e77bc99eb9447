-- From version 9 to 10: organizations, second factors, sign-in with issuers and of devices.
CREATE TABLE organizations (
    account_id TEXT PRIMARY KEY,
    created_by TEXT NOT NULL,
    record BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX organizations_of_maker ON organizations (created_by);
-- What a member or a service account spent in a month of an organization's account. month_start_ms: its beginning (UTC).
CREATE TABLE member_usage (
    account_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    month_start_ms INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    held INTEGER NOT NULL,
    PRIMARY KEY (account_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE invitations (
    account_id TEXT NOT NULL,
    invitation_id TEXT NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (account_id, invitation_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE second_factors (
    user_id TEXT PRIMARY KEY,
    record BLOB NOT NULL
) STRICT, WITHOUT ROWID;
-- By SHA-256 of issuer and subject.
CREATE TABLE identities (
    identity_hash BLOB PRIMARY KEY,
    user_id TEXT NOT NULL,
    record BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_of_user ON identities (user_id);
-- ID tokens and nonces that were used, by SHA-256, until they would be good for nothing anyway.
CREATE TABLE used_proofs (
    proof_hash BLOB PRIMARY KEY,
    ends_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX used_proofs_by_end ON used_proofs (ends_at_ms);
-- By the user code; device_hash: SHA-256 of the device code.
CREATE TABLE device_sign_ins (
    user_code TEXT PRIMARY KEY,
    device_hash BLOB NOT NULL UNIQUE,
    ends_at_ms INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX device_sign_ins_by_end ON device_sign_ins (ends_at_ms);
