//! Lists of audit events for operators: what is asked for, and the pages.

use shared::error::reason_name;
use shared::proto::auth as pb;

use crate::ids::UserId;
use crate::service::contract::timestamp;
use crate::service::ledger_page::page_size;
use crate::service::user_fields::user_name;
use crate::service::violations::{Violation, Violations};
use crate::store::{AuditAction, AuditEvent, AuditPage, AuditPlace, AuditPosition, AuditQuery, AuditRange, RecordedEvent};
use crate::user::UserName;

/// What a request asks for, but for the user's id.
pub(crate) struct AuditFields {
    /// Whose events; `None`: all.
    pub(crate) user: Option<UserName>,
    action: Option<AuditAction>,
    range: AuditRange,
    limit: u32,
}

impl AuditFields {
    pub(crate) fn parse(request: &pb::ListAuditEventsRequest) -> Result<Self, Vec<Violation>> {
        let mut violations = Violations::default();
        let limit = violations.keep(page_size(request.page_size));
        let range = violations.keep(range(request));
        let user = violations.keep(Some(&*request.user_name).filter(|name| !name.is_empty()).map(user_name).transpose());
        let action = violations.keep(action(&request.action));
        let fields = || Some(Self { user: user?, action: action?, range: range?, limit: limit? });
        violations.into_result(fields())
    }

    /// With the id of the user that was named.
    pub(crate) fn query(self, user: Option<UserId>) -> AuditQuery {
        AuditQuery { user, action: self.action, range: self.range, limit: self.limit }
    }
}

fn action(name: &str) -> Result<Option<AuditAction>, Violation> {
    if name.is_empty() {
        return Ok(None);
    }
    let action = AuditAction::ALL.iter().find(|action| action.name() == name).copied();
    action.map(Some).ok_or_else(|| {
        let names: Vec<&str> = AuditAction::ALL.iter().map(|action| action.name()).collect();
        Violation::new("action", format!("must be empty, or one of {}", names.join(", ")))
    })
}

fn range(request: &pb::ListAuditEventsRequest) -> Result<AuditRange, Violation> {
    match (request.page_token.as_str(), request.since_token.as_str()) {
        ("", "") => Ok(AuditRange::Newest),
        (page, "") => page_start(page).ok_or_else(|| Violation::new("page_token", "must be a next_page_token of this method, or empty")),
        ("", since) => read_since(since).ok_or_else(|| Violation::new("since_token", "must be a newest_token of this method, or empty")),
        _ => Err(Violation::new("since_token", "must be empty beside a page_token")),
    }
}

/// Where a page starts: opaque, so that it may come to name something else.
fn page_token(range: AuditRange) -> String {
    match range {
        AuditRange::Newest => String::new(),
        AuditRange::Before { position, newest } => format!("b{}.{}", position_text(position), position_text(newest)),
        AuditRange::After(position) => format!("a{}", position_text(position)),
    }
}

fn page_start(token: &str) -> Option<AuditRange> {
    let range = match token.split_at_checked(1)? {
        ("b", places) => {
            // The second of the two dots between the positions' own.
            let (middle, _) = token.match_indices('.').nth(1)?;
            let (position, newest) = (&places[..middle - 1], &token[middle + 1..]);
            AuditRange::Before { position: read_position(position)?, newest: read_position(newest)? }
        }
        ("a", position) => AuditRange::After(read_position(position)?),
        _ => return None,
    };
    Some(range).filter(|range| page_token(*range) == token)
}

/// From where what comes after a list is told.
fn since_token(position: AuditPosition) -> String {
    format!("s{}", position_text(position))
}

fn read_since(token: &str) -> Option<AuditRange> {
    let position = read_position(token.strip_prefix('s')?).filter(|position| since_token(*position) == token)?;
    Some(AuditRange::After(position))
}

fn position_text(AuditPosition { changes, attempts }: AuditPosition) -> String {
    format!("{:x}-{:x}.{:x}-{:x}", changes.0, changes.1, attempts.0, attempts.1)
}

fn read_position(text: &str) -> Option<AuditPosition> {
    let place = |text: &str| {
        let (first, second) = text.split_once('-')?;
        Some(AuditPlace(u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(second, 16).ok()?))
    };
    let (changes, attempts) = text.split_once('.')?;
    Some(AuditPosition { changes: place(changes)?, attempts: place(attempts)? })
}

/// A page, as the contract has it.
pub(crate) fn answer(page: AuditPage) -> pb::ListAuditEventsResponse {
    pb::ListAuditEventsResponse {
        events: page.events.into_iter().map(event).collect(),
        next_page_token: page.next.map(page_token).unwrap_or_default(),
        newest_token: since_token(page.newest),
    }
}

fn event(RecordedEvent { id, at_ms, event }: RecordedEvent) -> pb::AuditEvent {
    let AuditEvent { action, actor, actor_name, actor_credential, subject, subject_name, subject_id, .. } = event;
    let id_of = |user: Option<UserId>| user.map(|user| user.to_string()).unwrap_or_default();
    pb::AuditEvent {
        created_at: Some(timestamp(at_ms)),
        actor_user_id: id_of(actor),
        action: action.name().to_owned(),
        subject_user_id: id_of(subject),
        subject_id,
        event_id: id,
        actor_name,
        subject_name,
        failure: event.failure.map(reason_name).unwrap_or_default().to_owned(),
        address: event.address.map(|address| address.to_string()).unwrap_or_default(),
        request_id: event.request_id,
        actor_credential_id: actor_credential,
        detail: event.detail,
        client: event.client,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_were_given_and_one_kind_never_as_another() {
        let position = AuditPosition { changes: AuditPlace(0x19a_bcde_f012, 3), attempts: AuditPlace(0, u64::MAX) };
        let newest = AuditPosition { changes: AuditPlace(7, 0), attempts: AuditPlace::default() };
        for range in [AuditRange::Before { position, newest }, AuditRange::After(position)] {
            assert_eq!(page_start(&page_token(range)), Some(range));
            assert_eq!(read_since(&page_token(range)), None);
        }
        assert_eq!(read_since(&since_token(position)), Some(AuditRange::After(position)));
        assert_eq!(page_start(&since_token(position)), None);
        let broken = ["", "a", "b", "s", "b1-0.1-0", "b1-0.1-0.1-0", "a01-0.1-0", "a1-0.1-0.", "a1.1", "a-1-0.1-0", "é1-0.1-0", "b...."];
        for broken in broken.into_iter().chain(["b1-0.1-0.1-0.1-0.1-0", "a10000000000000000-0.1-0", "a1-0", "x1-0.1-0"]) {
            assert_eq!((page_start(broken), read_since(broken)), (None, None), "{broken}");
        }
    }

    #[test]
    fn all_that_is_wrong_with_a_request_is_named_at_once() {
        let request = pb::ListAuditEventsRequest {
            page_size: 501,
            page_token: "x".into(),
            since_token: "y".into(),
            user_name: "no name".into(),
            action: "explode".into(),
        };
        let violations = AuditFields::parse(&request).err().unwrap();
        let fields: Vec<&str> = violations.iter().map(|violation| &*violation.field).collect();
        assert_eq!(fields, ["page_size", "since_token", "user_name", "action"]);
        assert!(violations[3].expected.contains("sign_in, refresh"), "{violations:?}");
    }
}
