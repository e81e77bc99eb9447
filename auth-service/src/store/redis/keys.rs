//! The names of all keys in Redis. What is in braces is the hash tag: all keys of one account lie in one slot, so that one script may
//! touch them all.

use crate::device_sign_in::UserCode;
use crate::identity::IdentityHash;
use crate::ids::{AccountId, UserId};
use crate::store::audit_page::AuditLog;
use crate::user::UserName;

/// Shards of the registry of accounts.
pub(crate) const REGISTRY_SHARDS: u8 = 16;

/// What an account's keys end with.
#[cfg(test)]
const ACCOUNT_PARTS: [&str; 16] = [
    "acct",
    "due",
    "paid",
    "free",
    "log",
    "members",
    "keys",
    "used",
    "user",
    "sessions",
    "identities",
    "second_factor",
    "usage",
    "orgs",
    "org",
    "invitations",
];

/// Makes key names under one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// One of an account's keys: `acct`, `due`, `paid`, `free`, `log`, `members`, `keys` or `used`; of the user whose own account it is,
    /// `user`, `sessions`, `identities`, `second_factor` or `orgs`; of an organization, `org`, `invitations` or `usage`.
    pub(crate) fn account_part(&self, account: &AccountId, part: &str) -> String {
        let (prefix, account) = (self.prefix.as_str(), account.as_str());
        [prefix, ":{", account, "}:", part].concat()
    }

    /// A user's record, in the slot of their own account.
    pub(crate) fn user(&self, user: &UserId) -> String {
        self.account_part(&AccountId::from(user), "user")
    }

    /// Who has a user name: `<user id>|<claimed at, ms>`.
    pub(crate) fn name(&self, name: &UserName) -> String {
        format!("{}:names:{{{name}}}", self.prefix)
    }

    /// Whom an issuer's identity signs in: the user's id. What else is known of it is in the part `identities` of the user's account.
    pub(crate) fn identity(&self, identity: IdentityHash) -> String {
        format!("{}:identities:{}", self.prefix, hex::encode(identity.to_bytes()))
    }

    /// That a proof of an identity was used. Redis drops it when the proof is good for nothing anyway.
    pub(crate) fn used_proof(&self, hash: &[u8; 32]) -> String {
        format!("{}:used_proofs:{}", self.prefix, hex::encode(hash))
    }

    /// A shard of the registry of accounts: a sorted set of ids, all with score 0.
    pub(crate) fn registry(&self, shard: u8) -> String {
        format!("{}:accounts:{{{shard}}}", self.prefix)
    }

    /// The index of user names: see `user_names.rs`.
    pub(crate) fn user_names(&self) -> String {
        format!("{}:user_names", self.prefix)
    }

    /// The organizations' accounts: a sorted set of ids, all with score 0.
    pub(crate) fn organizations(&self) -> String {
        format!("{}:organizations", self.prefix)
    }

    /// One of the audit log's streams: `changes`, `operators` or `attempts`.
    pub(in crate::store) fn audit(&self, log: AuditLog) -> String {
        format!("{}:audit:{}", self.prefix, log.name())
    }

    /// The stream of what was revoked.
    pub(crate) fn revocations(&self) -> String {
        format!("{}:revocations", self.prefix)
    }

    /// The sign-in of a device, by its user code.
    pub(crate) fn device(&self, code: &UserCode) -> String {
        format!("{}:devices:{}", self.prefix, code.letters())
    }

    /// Its user code, by SHA-256 of its device code.
    pub(crate) fn device_code(&self, hash: &[u8; 32]) -> String {
        format!("{}:device_codes:{}", self.prefix, hex::encode(hash))
    }

    /// User codes by when their sign-ins are over.
    pub(crate) fn devices_due(&self) -> String {
        format!("{}:devices_due", self.prefix)
    }

    /// What the probe writes, and nobody reads.
    pub(crate) fn probe(&self) -> String {
        format!("{}:probe", self.prefix)
    }

    /// The shard that an account is registered in.
    pub(crate) fn shard_of(account: &AccountId) -> u8 {
        account.as_str().bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) % REGISTRY_SHARDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_keys_are_what_they_were() {
        let keys = Keys::new("tg");
        let account = AccountId::parse("0123456789abcdef").unwrap();
        assert_eq!(
            ACCOUNT_PARTS.map(|part| keys.account_part(&account, part)),
            [
                "tg:{0123456789abcdef}:acct",
                "tg:{0123456789abcdef}:due",
                "tg:{0123456789abcdef}:paid",
                "tg:{0123456789abcdef}:free",
                "tg:{0123456789abcdef}:log",
                "tg:{0123456789abcdef}:members",
                "tg:{0123456789abcdef}:keys",
                "tg:{0123456789abcdef}:used",
                "tg:{0123456789abcdef}:user",
                "tg:{0123456789abcdef}:sessions",
                "tg:{0123456789abcdef}:identities",
                "tg:{0123456789abcdef}:second_factor",
                "tg:{0123456789abcdef}:usage",
                "tg:{0123456789abcdef}:orgs",
                "tg:{0123456789abcdef}:org",
                "tg:{0123456789abcdef}:invitations",
            ]
        );
        assert_eq!(keys.user(&UserId::parse("0123456789abcdef").unwrap()), "tg:{0123456789abcdef}:user");
        assert_eq!(keys.name(&UserName::parse("Ada").unwrap()), "tg:names:{ada}");
        assert_eq!(keys.registry(7), "tg:accounts:{7}");
        assert_eq!(keys.user_names(), "tg:user_names");
        assert_eq!(keys.organizations(), "tg:organizations");
        assert_eq!(AuditLog::ALL.map(|log| keys.audit(log)), ["tg:audit:changes", "tg:audit:operators", "tg:audit:attempts"]);
        assert_eq!(keys.revocations(), "tg:revocations");
        assert_eq!(keys.probe(), "tg:probe");
        assert_eq!(keys.used_proof(&[0xab; 32]), format!("tg:used_proofs:{}", "ab".repeat(32)));
        let identity = keys.identity(IdentityHash::of("https://issuer.example", "1234"));
        assert_eq!(identity, "tg:identities:a0c3085d621d55e94bc7c86b1637ba159bd1f117963b8afc9c5b2ffbc4f72d9d");
        // What is issuer and what is subject can't be exchanged.
        assert_ne!(identity, keys.identity(IdentityHash::of("https://issuer.example1", "234")));
        assert_eq!(keys.device(&UserCode::parse("BCDF-GHJK").unwrap()), "tg:devices:BCDFGHJK");
        assert_eq!(keys.device_code(&[0xab; 32]), format!("tg:device_codes:{}", "ab".repeat(32)));
        assert_eq!(keys.devices_due(), "tg:devices_due");
        assert_eq!(Keys::shard_of(&account), 8);
    }

    #[test]
    fn a_users_record_lies_in_the_slot_of_their_own_account() {
        let keys = Keys::new("tg");
        let user = UserId::parse("0123456789abcdef").unwrap();
        assert_eq!(keys.account_part(&AccountId::from(&user), "user"), keys.user(&user));
    }
}
