//! The Lua scripts, and how one is called.

use ::redis::aio::ConnectionManager;
use ::redis::{Cmd, ErrorKind, RedisResult, Script, ServerErrorKind, ToRedisArgs, Value};
use shared::ledger::MAX_CREDITS;

use super::keys::Keys;
use super::millis;
use crate::store::audit_page::AuditLog;
use crate::store::{REMEMBERED_REVOCATIONS, StoreLimits};

/// A script on accounts: its limits, what all of them begin with, and its own file.
fn account_script(limits: &StoreLimits, keys: &Keys, flags: &str, file: &str) -> Script {
    let StoreLimits { hold_ttl, forget_after, max_open_holds, max_remembered_requests, max_free_requests, refunds, sweep_batch, .. } =
        *limits;
    let limits = format!(
        "local HOLD_TTL, FORGET_AFTER, BATCH, MAX_OPEN, MAX_PAID, MAX_FREE = {}, {}, {sweep_batch}, {max_open_holds}, \
         {max_remembered_requests}, {max_free_requests}\n\
         local REFUND_EVERY, REFUNDS_AHEAD, REFUNDS_FARTHEST, MAX_CREDITS = {}, {}, {}, {MAX_CREDITS}\n\
         local AUDIT_OPERATORS, MAX_OPERATORS, MAX_CHANGES, MAX_REVOCATIONS = '{}', {}, {}, {REMEMBERED_REVOCATIONS}\n",
        millis(hold_ttl),
        millis(forget_after),
        refunds.every_ms(),
        refunds.ahead_ms(),
        refunds.farthest_ms(max_open_holds),
        keys.audit(AuditLog::Operators),
        limits.max_audit_operators,
        limits.max_audit_changes
    );
    Script::new(&["#!lua", flags, "\n", &limits, include_str!("lua/clock.lua"), include_str!("lua/account.lua"), file].concat())
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

/// Makes the struct of all scripts, each a field of its own, and the list of them.
macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// All of them.
        #[derive(Debug)]
        pub(super) struct Scripts {
            $($(#[$doc])* pub(super) $name: Script),+
        }

        impl Scripts {
            /// All of them, to be loaded when a connection is opened: a full Redis must not have to take one in.
            pub(super) fn all(&self) -> Vec<&Script> {
                vec![$(&self.$name),+]
            }
        }
    };
}

scripts! {
    probe,
    claim_name,
    register,
    create_user,
    /// `move.lua` for what needs room: refused when Redis is full.
    hold,
    /// `move.lua` for what gives back or expires: works when Redis is full.
    settle,
    /// `move.lua` for what only reads: works when Redis takes no writes at all.
    read,
    /// `replace.lua` for what needs room.
    replace,
    /// `replace.lua` for what takes a right away: works when Redis is full.
    restrict,
    /// Works when Redis is full: the logs are bounded.
    record,
    /// A note, which needs room.
    note_uses,
    revocations,
    /// Works when Redis is full, or takes no writes at all.
    user,
    snapshot,
    ledger,
    /// Gives back: works when Redis is full.
    fold,
    begin_device,
    replace_device,
}

impl Scripts {
    /// With these limits, and the audit log's name, written into them: they never change while the process runs, so no call has to bring
    /// them.
    pub(super) fn new(limits: &StoreLimits, keys: &Keys) -> Self {
        const WHEN_FULL: &str = " flags=allow-oom";
        const READS: &str = " flags=no-writes";
        let account = |flags, file| account_script(limits, keys, flags, file);
        let (moves, replace) = (include_str!("lua/move.lua"), include_str!("lua/replace.lua"));
        Self {
            probe: Script::new(concat!("#!lua\n", include_str!("lua/probe.lua"))),
            claim_name: Script::new(concat!("#!lua\n", include_str!("lua/clock.lua"), include_str!("lua/claim_name.lua"))),
            register: Script::new(concat!("#!lua\n", include_str!("lua/register.lua"))),
            create_user: account("", include_str!("lua/create_user.lua")),
            hold: account("", moves),
            settle: account(WHEN_FULL, moves),
            read: account(READS, moves),
            replace: account("", replace),
            restrict: account(WHEN_FULL, replace),
            record: Script::new(&["#!lua", WHEN_FULL, "\n", include_str!("lua/clock.lua"), include_str!("lua/record.lua")].concat()),
            note_uses: Script::new(concat!("#!lua\n", include_str!("lua/clock.lua"), include_str!("lua/note_uses.lua"))),
            revocations: Script::new(&["#!lua", READS, "\n", include_str!("lua/revocations.lua")].concat()),
            user: Script::new(&["#!lua", READS, "\n", include_str!("lua/clock.lua"), include_str!("lua/user.lua")].concat()),
            snapshot: account(READS, include_str!("lua/snapshot.lua")),
            ledger: Script::new(&["#!lua", READS, "\n", include_str!("lua/clock.lua"), include_str!("lua/ledger.lua")].concat()),
            begin_device: Script::new(concat!("#!lua\n", include_str!("lua/clock.lua"), include_str!("lua/begin_device.lua"))),
            replace_device: Script::new(concat!("#!lua\n", include_str!("lua/replace_device.lua"))),
            fold: Script::new(&["#!lua", WHEN_FULL, "\n", include_str!("lua/fold.lua")].concat()),
        }
    }
}
