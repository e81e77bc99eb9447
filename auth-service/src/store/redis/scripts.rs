//! The Lua scripts, one file each in `store/lua/`.
//!
//! What may run when Redis is full has the flag `allow-oom` (it resolves holds, or frees more than it takes) or `no-writes`. The rest is
//! refused by Redis before it starts. Account scripts begin with the shared `prelude.lua`, most of them go on with `account.lua`.

use ::redis::aio::ConnectionManager;
use ::redis::{Cmd, ErrorKind, RedisResult, Script, ServerErrorKind, ToRedisArgs, Value};

use super::millis;
use crate::store::StoreLimits;

/// A script on an account: what all of them begin with, and its own files.
macro_rules! account_script {
    ($limits:expr, $flags:literal, $($file:literal),+) => {
        Script::new(&[
            concat!("#!lua", $flags, "\n"),
            $limits,
            include_str!("../lua/prelude.lua"),
            $(include_str!(concat!("../lua/", $file))),+
        ].concat())
    };
}

/// The line that prelude.lua speaks of.
fn limits_line(limits: &StoreLimits) -> String {
    let StoreLimits { hold_ttl, forget_after, max_open_holds, max_remembered_requests, sweep_batch } = *limits;
    format!(
        "local HOLD_TTL, FORGET_AFTER, BATCH, MAX_OPEN, MAX_REMEMBERED = {}, {}, {sweep_batch}, {max_open_holds}, {max_remembered_requests}\n",
        millis(hold_ttl),
        millis(forget_after)
    )
}

/// A call of a script, written as it goes over the wire while its parts are known.
pub(super) struct ScriptCall<'s> {
    script: &'s Script,
    command: Cmd,
}

impl<'s> ScriptCall<'s> {
    /// About what a Check takes, so that it is written without growing.
    const CAPACITY: (usize, usize) = (20, 1024);

    /// A call on these keys; arguments follow.
    pub(super) fn new<K: ToRedisArgs>(script: &'s Script, keys: impl ExactSizeIterator<Item = K>) -> Self {
        Self::with_room(1, script, keys)
    }

    /// The same, with room for so many requests.
    pub(super) fn with_room<K: ToRedisArgs>(requests: usize, script: &'s Script, keys: impl ExactSizeIterator<Item = K>) -> Self {
        let mut command = Cmd::with_capacity(Self::CAPACITY.0 * requests, Self::CAPACITY.1 * requests);
        command.arg("EVALSHA").arg(script.get_hash()).arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        Self { script, command }
    }

    /// One more argument.
    pub(super) fn arg(&mut self, value: impl ToRedisArgs) -> &mut Self {
        self.command.arg(value);
        self
    }

    /// Runs it; a Redis that has lost its scripts, in a restart, is given this one again.
    pub(super) async fn run(&self, connection: &mut ConnectionManager) -> RedisResult<Value> {
        match connection.send_packed_command(&self.command).await.and_then(Value::extract_error) {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.script.load_async(connection).await?;
                connection.send_packed_command(&self.command).await.and_then(Value::extract_error)
            }
            answer => answer,
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) probe: Script,
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
    /// With these limits written into them: they never change while the process runs, so no call has to bring them.
    pub(crate) fn new(limits: &StoreLimits) -> Self {
        let limits = &limits_line(limits);
        Self {
            probe: Script::new(concat!("#!lua\n", include_str!("../lua/probe.lua"))),
            claim_name: Script::new(concat!("#!lua\n", include_str!("../lua/claim_name.lua"))),
            create_user: account_script!(limits, "", "account.lua", "create_user.lua"),
            replace_password_hash: account_script!(limits, "", "account.lua", "replace_password_hash.lua"),
            set_disabled: account_script!(limits, " flags=allow-oom", "account.lua", "set_disabled.lua"),
            create_api_key: account_script!(limits, "", "account.lua", "api_key.lua", "create_api_key.lua"),
            revoke_api_key: account_script!(limits, " flags=allow-oom", "account.lua", "api_key.lua", "revoke_api_key.lua"),
            check: account_script!(limits, "", "check_known.lua", "account.lua", "check.lua"),
            authorize: account_script!(limits, " flags=no-writes", "check_known.lua", "account.lua", "check.lua"),
            extend: account_script!(limits, " flags=allow-oom", "account.lua", "extend.lua"),
            settle: account_script!(limits, " flags=allow-oom", "account.lua", "settle.lua"),
            grant: account_script!(limits, "", "account.lua", "grant.lua"),
            balance: account_script!(limits, " flags=allow-oom", "account.lua", "balance.lua"),
            receipt: account_script!(limits, " flags=allow-oom", "account.lua", "receipt.lua"),
            ledger: account_script!(limits, " flags=allow-oom", "account.lua", "ledger.lua"),
            sweep: account_script!(limits, " flags=allow-oom", "account.lua", "sweep.lua"),
            snapshot: account_script!(limits, " flags=no-writes", "snapshot.lua"),
        }
    }

    /// All of them, to be loaded when a connection is opened: a full Redis must not have to take one in.
    pub(crate) fn all(&self) -> [&Script; 17] {
        [
            &self.probe,
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
