//! The Lua scripts, one file each in `store/lua/`.
//!
//! What may run when Redis is full has the flag `allow-oom` (it resolves holds, or frees more than it takes) or `no-writes`. The rest is
//! refused by Redis before it starts. Account scripts begin with the shared `account.lua`.

use ::redis::Script;

macro_rules! account_script {
    ($flags:literal, $($file:literal),+) => {
        Script::new(concat!("#!lua", $flags, "\n", include_str!("../lua/account.lua"), $(include_str!(concat!("../lua/", $file))),+))
    };
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) claim_name: Script,
    pub(crate) create_user: Script,
    pub(crate) replace_password_hash: Script,
    pub(crate) set_disabled: Script,
    pub(crate) create_api_key: Script,
    pub(crate) revoke_api_key: Script,
    pub(crate) check: Script,
    /// The same file as `check`, for what holds nothing: it never writes, and so runs when Redis is full.
    pub(crate) authorize: Script,
    pub(crate) extend: Script,
    pub(crate) settle: Script,
    pub(crate) grant: Script,
    pub(crate) balance: Script,
    pub(crate) receipt: Script,
    pub(crate) ledger: Script,
    pub(crate) sweep: Script,
    pub(crate) snapshot: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            claim_name: Script::new(concat!("#!lua\n", include_str!("../lua/claim_name.lua"))),
            create_user: account_script!("", "create_user.lua"),
            replace_password_hash: account_script!("", "replace_password_hash.lua"),
            set_disabled: account_script!(" flags=allow-oom", "set_disabled.lua"),
            create_api_key: account_script!("", "api_key.lua", "create_api_key.lua"),
            revoke_api_key: account_script!(" flags=allow-oom", "api_key.lua", "revoke_api_key.lua"),
            check: account_script!("", "check.lua"),
            authorize: account_script!(" flags=no-writes", "check.lua"),
            extend: account_script!(" flags=allow-oom", "extend.lua"),
            settle: account_script!(" flags=allow-oom", "settle.lua"),
            grant: account_script!("", "grant.lua"),
            balance: account_script!(" flags=allow-oom", "balance.lua"),
            receipt: account_script!(" flags=allow-oom", "receipt.lua"),
            ledger: account_script!(" flags=allow-oom", "ledger.lua"),
            sweep: account_script!(" flags=allow-oom", "sweep.lua"),
            snapshot: Script::new(concat!("#!lua flags=no-writes\n", include_str!("../lua/snapshot.lua"))),
        }
    }

    /// All of them, to be loaded when a connection is opened: a full Redis must not have to take one in.
    pub(crate) fn all(&self) -> [&Script; 16] {
        [
            &self.claim_name,
            &self.create_user,
            &self.replace_password_hash,
            &self.set_disabled,
            &self.create_api_key,
            &self.revoke_api_key,
            &self.check,
            &self.authorize,
            &self.extend,
            &self.settle,
            &self.grant,
            &self.balance,
            &self.receipt,
            &self.ledger,
            &self.sweep,
            &self.snapshot,
        ]
    }
}
