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
        AuditRange::Before { position, newest } => format!("b{}", positions_text(&[position, newest])),
        AuditRange::After(position) => format!("a{}", positions_text(&[position])),
    }
}

fn page_start(token: &str) -> Option<AuditRange> {
    let range = match token.split_at_checked(1)? {
        ("b", positions) => {
            let [position, newest] = read_positions(positions)?;
            AuditRange::Before { position, newest }
        }
        ("a", position) => {
            let [position] = read_positions(position)?;
            AuditRange::After(position)
        }
        _ => return None,
    };
    Some(range).filter(|range| page_token(*range) == token)
}

/// From where what comes after a list is told.
fn since_token(position: AuditPosition) -> String {
    format!("s{}", positions_text(&[position]))
}

fn read_since(token: &str) -> Option<AuditRange> {
    let [position] = read_positions(token.strip_prefix('s')?)?;
    Some(position).filter(|position| since_token(*position) == token).map(AuditRange::After)
}

/// The places of positions, those of operators' actions only if one has any: the release before had no log of them, and wrote it so.
fn positions_text(positions: &[AuditPosition]) -> String {
    let has_operators = positions.iter().any(|position| position.operators != AuditPlace::default());
    let places = |AuditPosition { changes, operators, attempts }: &AuditPosition| {
        [Some(*changes), Some(*attempts), has_operators.then_some(*operators)]
    };
    let text = |place: AuditPlace| format!("{:x}-{:x}", place.0, place.1);
    let texts: Vec<String> = positions.iter().flat_map(places).flatten().map(text).collect();
    texts.join(".")
}

fn read_positions<const N: usize>(text: &str) -> Option<[AuditPosition; N]> {
    // Before they are kept: a token is as long as its caller likes.
    if text.split('.').count() > 3 * N {
        return None;
    }
    let place = |text: &str| {
        let (first, second) = text.split_once('-')?;
        Some(AuditPlace(u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(second, 16).ok()?))
    };
    let places: Vec<AuditPlace> = text.split('.').map(place).collect::<Option<_>>()?;
    let position = |places: &[AuditPlace]| match *places {
        [changes, attempts] => Some(AuditPosition { changes, attempts, operators: AuditPlace::default() }),
        [changes, attempts, operators] => Some(AuditPosition { changes, attempts, operators }),
        _ => None,
    };
    let positions: Vec<AuditPosition> = places.chunks(places.len().div_ceil(N)).map(position).collect::<Option<_>>()?;
    positions.try_into().ok()
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
        let of_before = AuditPosition { changes: AuditPlace(0x19a_bcde_f012, 3), attempts: AuditPlace(0, u64::MAX), ..Default::default() };
        let position = AuditPosition { operators: AuditPlace(5, 1), ..of_before };
        let newest = AuditPosition { changes: AuditPlace(7, 0), ..Default::default() };
        for position in [of_before, position] {
            for range in [AuditRange::Before { position, newest }, AuditRange::Before { position: newest, newest: position }] {
                assert_eq!(page_start(&page_token(range)), Some(range));
            }
            assert_eq!(page_start(&page_token(AuditRange::After(position))), Some(AuditRange::After(position)));
            assert_eq!(read_since(&page_token(AuditRange::After(position))), None);
            assert_eq!(read_since(&since_token(position)), Some(AuditRange::After(position)));
        }
        assert_eq!(since_token(of_before), "s19abcdef012-3.0-ffffffffffffffff", "as the release before wrote it");
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
