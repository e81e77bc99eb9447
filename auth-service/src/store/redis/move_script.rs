//! What `lua/move.lua` is given, and what it answers.

use ::redis::Value;

use super::scripts::ScriptCall;
use super::stored::{Counters, GRANT, OPEN, Stored, expiry_in, month_usage, unreadable};
use crate::access::{KeyRights, Member, RightsVersion, RightsVersions, Rows, SessionRights};
use crate::hold::{HoldRecord, Settlement, Terms, TokenUsage, hold_id, on_expiry};
use crate::ids::{SessionId, UserId};
use crate::month::Month;
use crate::organization::{Membership, MonthUsage};
use crate::store::expiry_line::Expired;
use crate::store::records;
use crate::store::{AuditEvent, PresentedCredential, StoreError};

/// In place of a new state: answer what there is.
const READ: u8 = 254;
/// In place of a new state: remove requests whose time is over.
const FORGET: u8 = 255;
/// Bytes of a move's numbers.
const NUMBERS_SIZE: usize = 72;
/// Any rights version will do.
const ANY: [u8; 8] = [0; 8];

/// What must be there under the record's id.
#[derive(Debug, Clone)]
enum Expected {
    Nothing,
    /// An open hold on the move's terms.
    Open,
    /// The same, with no more tokens recorded than the move has.
    OpenWithNoMoreTokens,
    /// This record.
    Exactly(Vec<u8>),
}

/// What a move has beside its record.
#[derive(Debug, Clone)]
enum Extra {
    Nothing,
    /// What its ledger entry records.
    Entry(Vec<u8>),
    /// Whose rights are answered with what is found.
    Caller(Caller),
}

#[derive(Debug, Clone)]
enum Caller {
    Key([u8; 32]),
    /// With a session, or none.
    User(UserId, Option<SessionId>),
}

/// What a move has beside, when an organization pays.
#[derive(Debug, Clone)]
struct Share {
    /// Whose hold it is.
    principal: UserId,
    /// What the rights version of their own account must be; `None`: any.
    home: Option<RightsVersion>,
    /// What the time must be in, when credits move.
    month: Month,
    /// The most that they may hold and have spent in it, when more is held; `None`: any.
    cap: Option<i64>,
}

impl Share {
    fn to_bytes(&self) -> Vec<u8> {
        let Self { principal, home, month, cap } = self;
        let numbers = [double(month.start_ms), double(month.end_ms), cap.map_or(f64::INFINITY, double)].map(f64::to_le_bytes).concat();
        [principal.as_str().as_bytes(), &home.map_or(ANY, RightsVersion::to_bytes), &numbers].concat()
    }
}

/// What a move asks of Redis, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// It works when Redis takes no writes at all.
    Reads,
    /// It works when Redis is full: what it writes takes the place of something.
    GivesBack,
    /// It is refused when Redis is full.
    NeedsRoom,
}

/// One compare-and-move on an account.
#[derive(Debug, Clone)]
pub(super) struct Move {
    state: u8,
    effect: Effect,
    swept: bool,
    is_refund: bool,
    rights_version: Option<RightsVersion>,
    good_until_ms: Option<i64>,
    most_available: Option<i64>,
    credits: i64,
    charge: i64,
    grant: i64,
    charged: i64,
    usage: TokenUsage,
    id: String,
    expected: Expected,
    /// Terms and rest, as they follow the head in the record.
    body: Vec<u8>,
    terms_size: u16,
    extra: Extra,
    /// Of a grant.
    event: Option<Vec<u8>>,
    /// `None`: it is the user's own account.
    share: Option<Share>,
}

/// The parts of [`Move`] that are whatever they are for most moves.
const PLAIN: Move = Move {
    state: READ,
    effect: Effect::Reads,
    swept: false,
    is_refund: false,
    rights_version: None,
    good_until_ms: None,
    most_available: None,
    credits: 0,
    charge: 0,
    grant: 0,
    charged: 0,
    usage: TokenUsage { input_tokens: 0, output_tokens: 0, estimated: false },
    id: String::new(),
    expected: Expected::Nothing,
    body: Vec::new(),
    terms_size: 0,
    extra: Extra::Nothing,
    event: None,
    share: None,
};

impl Move {
    /// Moves nothing: finds what there is under an id, which may be empty.
    pub(super) fn read(id: String) -> Self {
        Self { id, ..PLAIN }
    }

    /// Removes requests whose time is over.
    pub(super) fn forget() -> Self {
        Self { state: FORGET, effect: Effect::GivesBack, ..PLAIN }
    }

    /// Holds credits where there is no hold, or `in_place_of` this record.
    pub(super) fn hold(terms: &Terms, in_place_of: Option<Vec<u8>>) -> Self {
        Self {
            state: OPEN,
            effect: Effect::NeedsRoom,
            credits: terms.held_credits,
            id: terms.hold_id(),
            expected: in_place_of.map_or(Expected::Nothing, Expected::Exactly),
            ..PLAIN
        }
        .with_body(terms, &records::progress_bytes(false))
    }

    /// Moves an open hold's expiry, and records usage in place of what was recorded before, if that is no more or is `in_place_of`'s.
    pub(super) fn extend(terms: &Terms, usage: TokenUsage, in_place_of: Option<Vec<u8>>) -> Self {
        Self {
            state: OPEN,
            effect: Effect::GivesBack,
            credits: terms.held_credits,
            usage,
            id: terms.hold_id(),
            expected: in_place_of.map_or(Expected::OpenWithNoMoreTokens, Expected::Exactly),
            ..PLAIN
        }
        .with_body(terms, &records::progress_bytes(usage.estimated))
    }

    /// Resolves an open hold, or what was found, about now.
    pub(super) fn resolve(terms: &Terms, settlement: &Settlement, in_place_of: Option<Vec<u8>>, now_ms: i64) -> Self {
        let state = records::resolution_number(settlement.resolution);
        let entry = || Extra::Entry(records::resolution_entry_bytes(terms, settlement));
        Self {
            state: u8::try_from(state).unwrap_or(READ),
            effect: Effect::GivesBack,
            credits: terms.held_credits,
            charge: settlement.charge,
            charged: settlement.charged_credits,
            usage: settlement.usage,
            id: terms.hold_id(),
            expected: in_place_of.map_or(Expected::Open, Expected::Exactly),
            extra: if settlement.is_in_ledger() { entry() } else { Extra::Nothing },
            is_refund: settlement.is_refund(terms),
            ..PLAIN
        }
        .with_body(terms, &records::ending_bytes(settlement))
        .in_organization(terms, None, None, now_ms)
    }

    /// Adds credits, once.
    pub(super) fn grant(request_id: &str, credits: i64, entry: Vec<u8>, event: &AuditEvent) -> Self {
        Self {
            state: GRANT,
            effect: Effect::NeedsRoom,
            credits,
            grant: credits,
            id: grant_id(request_id),
            extra: Extra::Entry(entry),
            event: Some(records::audit_event_bytes(event)),
            ..PLAIN
        }
    }

    fn with_body(self, terms: &Terms, rest: &[u8]) -> Self {
        let terms_size = u16::try_from(terms.as_bytes().len()).unwrap_or(u16::MAX);
        Self { body: [terms.as_bytes(), rest].concat(), terms_size, ..self }
    }

    /// Only while the account's rights version is this.
    pub(super) fn with_rights(self, rights_version: RightsVersion, good_until_ms: Option<i64>) -> Self {
        Self { rights_version: Some(rights_version), good_until_ms, ..self }
    }

    /// Where an organization pays: only while the rights version of the user's own account is this, and no more is held and was spent in
    /// this month than the cap.
    pub(super) fn in_organization(self, terms: &Terms, home: Option<RightsVersion>, cap: Option<i64>, now_ms: i64) -> Self {
        if !terms.is_of_organization() {
            return self;
        }
        Self { share: Some(Share { principal: terms.user_id.clone(), home, month: Month::of_ms(now_ms), cap }), ..self }
    }

    /// Only while no more than this is available.
    pub(super) fn with_at_most_available(self, most_available: i64) -> Self {
        Self { most_available: Some(most_available), ..self }
    }

    /// Answers the rights of whom a credential names, with what is found.
    pub(super) fn for_caller(self, credential: &PresentedCredential) -> Self {
        let caller = match credential {
            PresentedCredential::ApiKey { secret_hash } => Caller::Key(*secret_hash),
            PresentedCredential::AccessToken { user_id, session, .. } => Caller::User(user_id.clone(), session.clone()),
        };
        Self { extra: Extra::Caller(caller), ..self }
    }

    /// Whether or not more holds are due.
    pub(super) fn swept(self) -> Self {
        Self { swept: true, ..self }
    }

    /// What it asks of Redis.
    pub(super) fn effect(&self) -> Effect {
        self.effect
    }

    /// Appends its arguments.
    pub(super) fn write(&self, call: &mut ScriptCall<'_>) {
        let expected = match &self.expected {
            Expected::Nothing => 0,
            Expected::Open => 1,
            Expected::OpenWithNoMoreTokens => 2,
            Expected::Exactly(_) => 3,
        };
        let named;
        let (extra_kind, extra): (u8, &[u8]) = match &self.extra {
            Extra::Nothing => (0, &[]),
            Extra::Entry(entry) => (1, entry),
            Extra::Caller(Caller::Key(hash)) => (2, hash),
            Extra::Caller(Caller::User(user, None)) => (3, user.as_str().as_bytes()),
            Extra::Caller(Caller::User(user, Some(session))) => {
                named = [user.as_str(), session.as_str()].concat();
                (3, named.as_bytes())
            }
        };
        let mut numbers = Vec::with_capacity(NUMBERS_SIZE);
        let (is_refund, is_shared) = (u8::from(self.is_refund), u8::from(self.share.is_some()));
        numbers.extend([self.state, u8::from(self.swept), expected, extra_kind, is_refund, is_shared]);
        numbers.extend(self.terms_size.to_le_bytes());
        numbers.extend(self.rights_version.map_or(ANY, RightsVersion::to_bytes));
        let doubles = [
            self.good_until_ms.map_or(f64::INFINITY, double),
            self.most_available.map_or(f64::INFINITY, double),
            double(self.credits),
            double(self.charge),
            double(self.grant),
            double(self.charged),
        ];
        doubles.iter().for_each(|number| numbers.extend(number.to_le_bytes()));
        numbers.extend(self.usage.input_tokens.to_le_bytes());
        numbers.extend(self.usage.output_tokens.to_le_bytes());
        call.arg(&numbers[..]).arg(&self.id).arg(&self.body[..]).arg(extra);
        if let Expected::Exactly(record) = &self.expected {
            call.arg(&record[..]);
        }
        if let Some(event) = &self.event {
            call.arg(&event[..]);
        }
        if let Some(share) = &self.share {
            call.arg(share.to_bytes());
        }
    }
}

/// The id under which a grant is kept: no hold's begins like it.
pub(super) fn grant_id(request_id: &str) -> String {
    ["g.", request_id].concat()
}

#[expect(clippy::cast_precision_loss, reason = "credits and times stay far below 2^53")]
fn double(number: i64) -> f64 {
    number as f64
}

/// What became of a [`Move`].
#[derive(Debug, Clone)]
pub(super) enum Moved {
    /// It was made.
    Done(Done),
    /// Nothing was written.
    Found(Box<Found>),
}

/// What a move leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    /// The account's figures.
    pub(super) counters: Counters,
    /// When the record expires.
    pub(super) expires_at_ms: i64,
}

/// What was there instead of what was expected.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// Unread: what is wrong with them is told only to those who may spend.
    counters: Option<Vec<u8>>,
    record: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    session: Option<Vec<u8>>,
    member: Option<Vec<u8>>,
    membership: Option<Vec<u8>>,
    home: Option<Vec<u8>>,
    usage: Option<Vec<u8>>,
    due: Vec<(String, Vec<u8>)>,
}

impl Found {
    /// The account's figures; `None`: no such account.
    pub(super) fn counters(&self) -> Result<Option<Counters>, StoreError> {
        self.counters.as_deref().map(Counters::read).transpose()
    }

    /// The record's bytes, to be expected by the next move.
    pub(super) fn record_bytes(&self) -> Option<Vec<u8>> {
        self.record.clone()
    }

    pub(super) fn record(&self) -> Result<Option<Stored>, StoreError> {
        self.record.as_deref().map(Stored::read).transpose()
    }

    pub(super) fn hold(&self) -> Result<Option<HoldRecord>, StoreError> {
        self.record()?.map(Stored::hold).transpose()
    }

    /// The caller's key.
    pub(super) fn key(&self) -> Result<Option<KeyRights>, StoreError> {
        let read = |bytes: &[u8]| {
            let (user_id, record) = bytes.split_at_checked(UserId::LENGTH)?;
            records::key_rights(record).filter(|key| key.user_id.as_str().as_bytes() == user_id)
        };
        self.key.as_deref().map(|bytes| read(bytes).ok_or_else(|| unreadable("an API key"))).transpose()
    }

    /// What decides about the caller.
    pub(super) fn rows(&self) -> Result<Rows, StoreError> {
        let (member, membership) = (member(self.member.as_deref())?, membership(self.membership.as_deref())?);
        Ok(Rows { key: self.key()?, session: session_rights(self.session.as_deref())?, member, membership })
    }

    /// The rights versions that the caller's rows were read with. `counters`: the account's.
    pub(super) fn rights_versions(&self, counters: &Counters) -> Result<RightsVersions, StoreError> {
        let read = |bytes: &Vec<u8>| bytes.as_slice().try_into().map(RightsVersion::from_bytes).map_err(|_| unreadable("a rights version"));
        Ok(RightsVersions { account: counters.rights_version, home: self.home.as_ref().map(read).transpose()? })
    }

    /// What the member of an organization spent and holds.
    pub(super) fn usage(&self) -> Result<MonthUsage, StoreError> {
        Ok(self.usage.as_deref().map(month_usage).transpose()?.unwrap_or_default())
    }

    /// Whether what is counted of a member has room for the end of an open hold of theirs. A move that finds otherwise is never made.
    pub(super) fn verify_usage(&self, hold: &HoldRecord) -> Result<(), StoreError> {
        let is_counted = !hold.terms.is_of_organization() || hold.resolved.is_some() || self.usage()?.held >= hold.terms.held_credits;
        if is_counted { Ok(()) } else { Err(StoreError::Corrupt("a member holds less than was counted".to_owned())) }
    }

    /// How the holds that are due are resolved, one operation's number of them, and whether there are more.
    pub(super) fn expirations(&self, most: usize, now_ms: i64) -> Result<(Vec<(Expired, Move)>, bool), StoreError> {
        let expire = |(id, record): &(String, Vec<u8>)| {
            let hold = Stored::read(record)?.hold()?;
            if hold.resolved.is_some() || hold_id(&hold.terms.user_id, &hold.terms.request_id) != *id {
                return Err(StoreError::Corrupt("a hold that is due is not open".to_owned()));
            }
            let settlement = on_expiry(&hold);
            let expire = Move::resolve(&hold.terms, &settlement, Some(record.clone()), now_ms).swept();
            Ok((Expired { terms: hold.terms, settlement }, expire))
        };
        let moves = self.due.iter().take(most).map(expire).collect::<Result<_, _>>()?;
        Ok((moves, self.due.len() > most))
    }
}

/// Reads a session's part of what decides.
pub(super) fn session_rights(bytes: Option<&[u8]>) -> Result<Option<SessionRights>, StoreError> {
    bytes.map(|bytes| records::session_rights(bytes).ok_or_else(|| unreadable("a session"))).transpose()
}

/// Reads a place in an organization.
pub(super) fn membership(bytes: Option<&[u8]>) -> Result<Option<Membership>, StoreError> {
    bytes.map(|bytes| records::membership(bytes).ok_or_else(|| unreadable("a membership"))).transpose()
}

/// Reads a user's state.
pub(super) fn member(bytes: Option<&[u8]>) -> Result<Option<Member>, StoreError> {
    bytes.map(|bytes| records::member(bytes).ok_or_else(|| unreadable("a member"))).transpose()
}

/// Takes the script's answer to so many moves apart: the time, and what became of each. `hold_ttl_ms`: the life of a new hold.
pub(super) fn answers(answer: Value, moves: usize, hold_ttl_ms: i64) -> Result<(i64, Vec<Moved>), StoreError> {
    let parse = || {
        let Value::Array(parts) = answer else { return None };
        let mut parts = parts.into_iter();
        let Some(Value::Int(now_ms)) = parts.next() else { return None };
        let moved = parts
            .map(|part| moved(part, now_ms.saturating_add(hold_ttl_ms)))
            .collect::<Option<Vec<_>>>()
            .filter(|moved| moved.len() == moves)?;
        Some((now_ms, moved))
    };
    parse().ok_or_else(|| unreadable("a script's answer"))
}

/// `new_expiry_ms`: when a new hold expires, which isn't told.
fn moved(answer: Value, new_expiry_ms: i64) -> Option<Moved> {
    match answer {
        Value::BulkString(done) => {
            let (counters, head) = done.split_at_checked(Counters::SIZE)?;
            let expires_at_ms = if head.is_empty() { new_expiry_ms } else { expiry_in(head)? };
            Some(Moved::Done(Done { counters: Counters::read(counters).ok()?, expires_at_ms }))
        }
        Value::Array(parts) => {
            let [counters, record, key, session, member, Value::Array(due), place] = <[Value; 7]>::try_from(parts).ok()? else {
                return None;
            };
            let [membership, home, usage] = match place {
                Value::Array(place) => <[Value; 3]>::try_from(place).ok()?,
                Value::Nil => [Value::Nil, Value::Nil, Value::Nil],
                _ => return None,
            };
            let mut due = due.into_iter().map(bytes);
            let mut found = Found {
                counters: bytes(counters)?,
                record: bytes(record)?,
                key: bytes(key)?,
                session: bytes(session)?,
                member: bytes(member)?,
                membership: bytes(membership)?,
                home: bytes(home)?,
                usage: bytes(usage)?,
                due: Vec::new(),
            };
            while let Some(id) = due.next() {
                // An id without its record is found by reading it.
                found.due.push((String::from_utf8(id??).ok()?, due.next()??.unwrap_or_default()));
            }
            Some(Moved::Found(Box::new(found)))
        }
        _ => None,
    }
}

/// A text, or `Some(None)` where there is none.
fn bytes(value: Value) -> Option<Option<Vec<u8>>> {
    match value {
        Value::BulkString(bytes) => Some(Some(bytes)),
        Value::Nil => Some(None),
        _ => None,
    }
}
