//! Sign-ins of devices in Redis: one by its user code, found by its device code too, and a sorted set of when each is over. Redis drops
//! them by itself; whether one is over, its record says.

use std::time::Duration;

use ::redis::Script;

use super::RedisStore;
use super::change::{Change, Compared, MAX_TRIES, Replacement, changing_too_quickly};
use super::millis;
use super::scripts::ScriptCall;
use super::stored::unreadable;
use super::user_changes::Read;
use crate::device_sign_in::{
    DeviceDecision, DeviceQuestion, DeviceSignIn, DeviceStart, MAX_OPEN, NewDeviceSignIn, UserCode, on_begin, on_question,
};
use crate::ids::{AccountId, UserId};
use crate::store::{AuditEvent, StoreError, records};
use crate::user_state::UserState;

/// A sign-in as read, and its bytes.
type ReadDevice = Option<(DeviceSignIn, Vec<u8>)>;

impl RedisStore {
    pub(super) async fn begin_device(&self, new: &NewDeviceSignIn, event: &AuditEvent) -> Result<DeviceStart, StoreError> {
        let keys = [
            self.keys.devices_due(),
            self.keys.device(&new.user_code),
            self.keys.device_code(&new.device_hash),
            self.keys.audit(event.log_of_change()),
        ];
        for _ in 0..MAX_TRIES {
            let now_ms = self.redis_now_ms().await?;
            let mut pipeline = ::redis::pipe();
            pipeline.zcount(&keys[0], format!("({now_ms}"), "+inf");
            pipeline.cmd("ZRANGEBYSCORE").arg(&keys[0]).arg(format!("({now_ms}")).arg("+inf").arg("WITHSCORES").arg("LIMIT").arg(0).arg(1);
            let (kept, first): (u32, Vec<(String, f64)>) = self.query(&pipeline).await?;
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and within 2^53")]
            let first_ends_at_ms = first.first().map(|(_, ends_at_ms)| *ends_at_ms as i64);
            let sign_in = match on_begin(new, kept, first_ends_at_ms, now_ms) {
                DeviceStart::Begun(sign_in) => sign_in,
                full => return Ok(full),
            };
            let record = records::device_sign_in_bytes(&sign_in);
            let mut call = ScriptCall::new(&self.scripts.begin_device, keys.iter());
            call.arg(self.now()).arg(MAX_OPEN).arg(sign_in.ends_at_ms).arg(millis(life(&sign_in, now_ms))).arg(new.user_code.letters());
            call.arg(&record[..]).arg(event.log_of_change().most(&self.limits)).arg(&records::audit_event_bytes(event)[..]);
            match self.run::<String>(&call).await?.as_str() {
                "begun" => return Ok(DeviceStart::Begun(sign_in)),
                "taken" => return Ok(DeviceStart::CodeTaken),
                "full" => {}
                _ => return Err(unreadable("the answer to the beginning of a device's sign-in")),
            }
        }
        Err(changing_too_quickly())
    }

    pub(super) async fn find_device(&self, code: &UserCode) -> Result<Option<DeviceSignIn>, StoreError> {
        let now_ms = self.redis_now_ms().await?;
        Ok(self.read_device(code).await?.map(|(sign_in, _)| sign_in).filter(|sign_in| !sign_in.is_over(now_ms)))
    }

    pub(super) async fn ask_for_device(&self, device_hash: &[u8; 32]) -> Result<DeviceQuestion, StoreError> {
        for _ in 0..MAX_TRIES {
            let Some(code) = self.user_code_of(device_hash).await? else { return Ok(DeviceQuestion::Over) };
            let now_ms = self.redis_now_ms().await?;
            let Some((sign_in, bytes)) = self.read_device(&code).await? else { return Ok(DeviceQuestion::Over) };
            let (answer, next) = on_question(&sign_in, now_ms);
            let Some(next) = next else { return Ok(answer) };
            let mut call = ScriptCall::new(&self.scripts.replace_device, std::iter::once(self.keys.device(&code)));
            call.arg(&bytes[..]).arg(&records::device_sign_in_bytes(&next)[..]).arg(millis(life(&next, now_ms)));
            if self.run::<i64>(&call).await? == 1 {
                return Ok(answer);
            }
        }
        Err(changing_too_quickly())
    }

    pub(super) async fn user_code_of(&self, device_hash: &[u8; 32]) -> Result<Option<UserCode>, StoreError> {
        let (code,): (Option<String>,) = self.query(::redis::pipe().get(self.keys.device_code(device_hash))).await?;
        code.map(|code| UserCode::parse(&code).ok_or_else(|| unreadable("a device's user code"))).transpose()
    }

    /// Has a rule decide about a sign-in with the user whom it is about, and writes what it says by `script`; `None`: no such user. The
    /// rule is asked again when others changed either meanwhile.
    pub(super) async fn change_device<T>(
        &self,
        script: &Script,
        code: &UserCode,
        id: &UserId,
        rule: impl Fn(Option<&DeviceSignIn>, &UserState, i64) -> DeviceDecision<T>,
    ) -> Result<Option<T>, StoreError> {
        for _ in 0..MAX_TRIES {
            let device = self.read_device(code).await?;
            let Some(Read { state, rights_version, now_ms }) = self.read_user_state(id).await? else { return Ok(None) };
            let DeviceDecision { answer, sign_in, changes } = rule(device.as_ref().map(|(sign_in, _)| sign_in), &state, now_ms);
            if sign_in.is_none() && changes.is_none() {
                return Ok(Some(answer));
            }
            let changes = changes.unwrap_or_default();
            let expected = device.map(|(_, bytes)| bytes).unwrap_or_default();
            let replaced = sign_in.map(|sign_in| Replacement {
                life: Some(life(&sign_in, now_ms)),
                ..Replacement::at(self.keys.device(code), Vec::new(), records::device_sign_in_bytes(&sign_in))
            });
            let change = Change {
                compared: vec![Compared { key: self.keys.device(code), field: Vec::new(), expected }],
                replacements: self.replacements(id, &changes).into_iter().chain(replaced).collect(),
                event: changes.event.as_ref(),
                revocations: changes.revocations,
                ..Change::new(AccountId::from(id), rights_version)
            };
            if self.replace_records(script, change).await? {
                return Ok(Some(answer));
            }
        }
        Err(changing_too_quickly())
    }

    async fn read_device(&self, code: &UserCode) -> Result<ReadDevice, StoreError> {
        let (bytes,): (Option<Vec<u8>>,) = self.query(::redis::pipe().get(self.keys.device(code))).await?;
        let Some(bytes) = bytes else { return Ok(None) };
        let sign_in = records::device_sign_in(code, &bytes).ok_or_else(|| unreadable("a device's sign-in"))?;
        Ok(Some((sign_in, bytes)))
    }

    async fn redis_now_ms(&self) -> Result<i64, StoreError> {
        let (time,): ((i64, i64),) = self.query(::redis::pipe().cmd("TIME")).await?;
        Ok(self.time_ms(time))
    }
}

/// How long Redis keeps a sign-in at the least.
fn life(sign_in: &DeviceSignIn, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(sign_in.ends_at_ms.saturating_sub(now_ms)).unwrap_or(0).max(1))
}
