//! What `lua/move.lua` is given, and what it answers.

use ::redis::Value;

use super::scripts::ScriptCall;
use super::stored::{Counters, GRANT, OPEN, Stored, unreadable};
use crate::access::Member;
use crate::hold::{HoldRecord, Settlement, Terms, TokenUsage, hold_id, on_expiry};
use crate::ids::UserId;
use crate::store::records;
use crate::store::{ApiKeyRecord, PresentedCredential, StoreError};

/// In place of a new state: answer what there is.
const READ: u8 = 254;
/// In place of a new state: remove requests whose time is over.
const FORGET: u8 = 255;
/// Any rights version will do.
const ANY: f64 = -1.0;

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

/// Whose rights are answered with what is found.
#[derive(Debug, Clone)]
enum Caller {
    Nobody,
    Key([u8; 32]),
    User(UserId),
}

/// One compare-and-move on an account.
#[derive(Debug, Clone)]
pub(super) struct Move {
    state: u8,
    needs_room: bool,
    swept: bool,
    rights_version: Option<i64>,
    good_until_ms: Option<i64>,
    most_available: Option<i64>,
    credits: i64,
    charge: i64,
    grant: i64,
    charged: i64,
    usage: TokenUsage,
    id: String,
    expected: Expected,
    terms: Vec<u8>,
    rest: Vec<u8>,
    entry: Vec<u8>,
    caller: Caller,
}

/// The parts of [`Move`] that are whatever they are for most moves.
const PLAIN: Move = Move {
    state: READ,
    needs_room: false,
    swept: false,
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
    terms: Vec::new(),
    rest: Vec::new(),
    entry: Vec::new(),
    caller: Caller::Nobody,
};

impl Move {
    /// Moves nothing: finds what there is under an id, which may be empty.
    pub(super) fn read(id: String) -> Self {
        Self { id, ..PLAIN }
    }

    /// Removes requests whose time is over.
    pub(super) fn forget() -> Self {
        Self { state: FORGET, ..PLAIN }
    }

    /// Holds credits where there is no hold, or `in_place_of` this record.
    pub(super) fn hold(terms: &Terms, in_place_of: Option<Vec<u8>>) -> Self {
        Self {
            state: OPEN,
            needs_room: true,
            credits: terms.held_credits,
            id: terms.hold_id(),
            expected: in_place_of.map_or(Expected::Nothing, Expected::Exactly),
            terms: terms.as_bytes().to_vec(),
            rest: records::progress_bytes(false),
            ..PLAIN
        }
    }

    /// Moves an open hold's expiry, and records usage in place of what was recorded before, if that is no more or is `in_place_of`'s.
    pub(super) fn extend(terms: &Terms, usage: TokenUsage, in_place_of: Option<Vec<u8>>) -> Self {
        Self {
            state: OPEN,
            credits: terms.held_credits,
            usage,
            id: terms.hold_id(),
            expected: in_place_of.map_or(Expected::OpenWithNoMoreTokens, Expected::Exactly),
            terms: terms.as_bytes().to_vec(),
            rest: records::progress_bytes(usage.estimated),
            ..PLAIN
        }
    }

    /// Resolves an open hold, or what was found.
    pub(super) fn resolve(terms: &Terms, settlement: &Settlement, in_place_of: Option<Vec<u8>>) -> Self {
        let state = records::resolution_number(settlement.resolution);
        Self {
            state: u8::try_from(state).unwrap_or(READ),
            credits: terms.held_credits,
            charge: settlement.charge,
            charged: settlement.charged_credits,
            usage: settlement.usage,
            id: terms.hold_id(),
            expected: in_place_of.map_or(Expected::Open, Expected::Exactly),
            terms: terms.as_bytes().to_vec(),
            rest: records::ending_bytes(settlement),
            entry: records::resolution_entry_bytes(terms, settlement),
            ..PLAIN
        }
    }

    /// Adds credits, once.
    pub(super) fn grant(request_id: &str, credits: i64, entry: Vec<u8>) -> Self {
        Self { state: GRANT, needs_room: true, credits, grant: credits, id: grant_id(request_id), entry, ..PLAIN }
    }

    /// Only while the account's rights version is this.
    pub(super) fn with_rights(self, rights_version: i64, good_until_ms: Option<i64>) -> Self {
        Self { rights_version: Some(rights_version), good_until_ms, ..self }
    }

    /// Only while no more than this is available.
    pub(super) fn with_at_most_available(self, most_available: i64) -> Self {
        Self { most_available: Some(most_available), ..self }
    }

    /// Answers the rights of whom a credential names, with what is found.
    pub(super) fn for_caller(self, credential: &PresentedCredential) -> Self {
        let caller = match credential {
            PresentedCredential::ApiKey { secret_hash } => Caller::Key(*secret_hash),
            PresentedCredential::AccessToken { user_id, .. } => Caller::User(user_id.clone()),
        };
        Self { caller, ..self }
    }

    /// Whether or not more holds are due.
    pub(super) fn swept(self) -> Self {
        Self { swept: true, ..self }
    }

    /// Whether it is refused when Redis is full.
    pub(super) fn needs_room(&self) -> bool {
        self.needs_room
    }

    /// Appends its arguments.
    pub(super) fn write(&self, call: &mut ScriptCall<'_>) {
        let mut numbers = [0; 66];
        let whole = [
            self.rights_version.map_or(ANY, double),
            self.good_until_ms.map_or(f64::INFINITY, double),
            self.most_available.map_or(f64::INFINITY, double),
            double(self.credits),
            double(self.charge),
            double(self.grant),
            double(self.charged),
        ];
        (numbers[0], numbers[1]) = (self.state, u8::from(self.swept));
        for (place, number) in numbers[2..58].chunks_exact_mut(8).zip(whole) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        numbers[58..62].copy_from_slice(&self.usage.input_tokens.to_le_bytes());
        numbers[62..].copy_from_slice(&self.usage.output_tokens.to_le_bytes());
        call.arg(&numbers[..]).arg(&self.id);
        match &self.expected {
            Expected::Nothing => call.arg(""),
            Expected::Open => call.arg("t"),
            Expected::OpenWithNoMoreTokens => call.arg("u"),
            Expected::Exactly(record) => call.arg([b"=", &record[..]].concat()),
        };
        call.arg(&self.terms[..]).arg(&self.rest[..]).arg(&self.entry[..]);
        match &self.caller {
            Caller::Nobody => call.arg(""),
            Caller::Key(hash) => call.arg([b"k", &hash[..]].concat()),
            Caller::User(user) => call.arg(["t", user.as_str()].concat()),
        };
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
    member: Option<Vec<u8>>,
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
    pub(super) fn key(&self) -> Result<Option<ApiKeyRecord>, StoreError> {
        self.key.as_deref().map(stored_api_key).transpose()
    }

    /// The caller's place in the account.
    pub(super) fn member(&self) -> Result<Option<Member>, StoreError> {
        let read = |bytes: &[u8]| records::member(bytes).ok_or_else(|| unreadable("a member"));
        self.member.as_deref().map(read).transpose()
    }

    /// How the holds that are due are resolved, one operation's number of them, and whether there are more.
    pub(super) fn expirations(&self, most: usize) -> Result<(Vec<Move>, bool), StoreError> {
        let expire = |(id, record): &(String, Vec<u8>)| {
            let hold = Stored::read(record)?.hold()?;
            if hold.resolved.is_some() || hold_id(&hold.terms.user_id, &hold.terms.request_id) != *id {
                return Err(StoreError::Corrupt("a hold that is due is not open".to_owned()));
            }
            Ok(Move::resolve(&hold.terms, &on_expiry(&hold), Some(record.clone())).swept())
        };
        let moves = self.due.iter().take(most).map(expire).collect::<Result<_, _>>()?;
        Ok((moves, self.due.len() > most))
    }
}

/// Reads a key as the keyring has it: behind the user's id, by which scripts find the member.
pub(super) fn stored_api_key(bytes: &[u8]) -> Result<ApiKeyRecord, StoreError> {
    let read = || {
        let (user_id, record) = bytes.split_at_checked(UserId::LENGTH)?;
        records::api_key(record).filter(|key| key.user_id.as_str().as_bytes() == user_id)
    };
    read().ok_or_else(|| unreadable("an API key"))
}

/// Takes the script's answer to so many moves apart: the time, and what became of each.
pub(super) fn answers(answer: Value, moves: usize) -> Result<(i64, Vec<Moved>), StoreError> {
    let parse = || {
        let Value::Array(parts) = answer else { return None };
        let mut parts = parts.into_iter();
        let Some(Value::Int(now_ms)) = parts.next() else { return None };
        let moved = parts.map(moved).collect::<Option<Vec<_>>>().filter(|moved| moved.len() == moves)?;
        Some((now_ms, moved))
    };
    parse().ok_or_else(|| unreadable("a script's answer"))
}

fn moved(answer: Value) -> Option<Moved> {
    match answer {
        Value::BulkString(done) => {
            let (counters, expires) = done.split_at_checked(Counters::SIZE)?;
            let expires_at_ms = f64::from_le_bytes(expires.try_into().ok()?);
            #[expect(clippy::cast_possible_truncation, reason = "a time in milliseconds")]
            Some(Moved::Done(Done { counters: Counters::read(counters).ok()?, expires_at_ms: expires_at_ms as i64 }))
        }
        Value::Array(parts) => {
            let [counters, record, key, member, Value::Array(due)] = <[Value; 5]>::try_from(parts).ok()? else { return None };
            let mut due = due.into_iter().map(bytes);
            let mut found =
                Found { counters: bytes(counters)?, record: bytes(record)?, key: bytes(key)?, member: bytes(member)?, due: Vec::new() };
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
