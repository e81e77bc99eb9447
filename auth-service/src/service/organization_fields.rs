//! The fields of calls about organizations.

use std::time::Duration;

use shared::ledger::MAX_CREDITS;
use shared::proto::auth as pb;

use crate::ids::{AccountId, InvitationId, UserId};
use crate::organization::MemberRole;
use crate::organization::invitation_code::InvitationCode;
use crate::service::service_error::ServiceError;
use crate::service::violations::{Violation, Violations, plain_text};

/// Characters of a name.
pub(super) const MOST_NAME_CHARACTERS: usize = 100;
/// How long an invitation is good, unless said otherwise.
const DEFAULT_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Shorter ones nobody could use.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
/// Longer ones would be forgotten, and found by somebody else.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The organization that a call names.
pub(crate) fn account_id(text: &str) -> Result<AccountId, Violation> {
    AccountId::parse(text).ok_or_else(|| Violation::new("account_id", "must be an account's id: 16 letters and digits"))
}

/// A place in the organization that a call names: that of the user or service account whose id is in this field.
pub(crate) fn place_named(violations: &mut Violations, account: &str, (field, id): (&'static str, &str)) -> Option<(AccountId, UserId)> {
    let account = violations.keep(account_id(account));
    let id = UserId::parse(id).ok_or_else(|| Violation::new(field, "must be an id: 16 letters and digits"));
    account.zip(violations.keep(id))
}

/// An invitation by its id.
pub(crate) fn invitation_id(text: &str) -> Result<InvitationId, Violation> {
    InvitationId::parse(text).ok_or_else(|| Violation::new("invitation_id", "must be an invitation's id: 12 letters and digits"))
}

/// An invitation's code.
pub(crate) fn invitation_code(text: &str) -> Result<InvitationCode, ServiceError> {
    let expected = "must be an invitation's code, `tgi_` and 44 letters and digits; this one is mistyped or cut";
    InvitationCode::parse(text).ok_or_else(|| ServiceError::field("invitation_code", expected))
}

/// The name of an organization or a service account. Space around it isn't part of it.
pub(crate) fn name(text: &str) -> Result<String, Violation> {
    let name = plain_text("name", text.trim().to_owned(), MOST_NAME_CHARACTERS)?;
    if name.is_empty() { Err(Violation::new("name", format!("must have 1 to {MOST_NAME_CHARACTERS} characters"))) } else { Ok(name) }
}

/// A role; none is that of a member.
pub(crate) fn role(number: i32) -> Result<MemberRole, Violation> {
    if number == 0 { Ok(MemberRole::Member) } else { required_role(number) }
}

/// A role that must be said.
pub(crate) fn required_role(number: i32) -> Result<MemberRole, Violation> {
    match pb::MemberRole::try_from(number) {
        Ok(pb::MemberRole::Member) => Ok(MemberRole::Member),
        Ok(pb::MemberRole::Owner) => Ok(MemberRole::Owner),
        Ok(pb::MemberRole::Unspecified) | Err(_) => Err(Violation::new("role", "must be MEMBER_ROLE_MEMBER or MEMBER_ROLE_OWNER")),
    }
}

/// A cap; `None`: none.
pub(crate) fn cap(credits: Option<i64>) -> Result<Option<i64>, Violation> {
    let is_cap = credits.is_none_or(|credits| (0..=MAX_CREDITS).contains(&credits));
    if is_cap { Ok(credits) } else { Err(Violation::new("monthly_cap_credits", "must be from 0 to 10^12, or unset")) }
}

/// How long an invitation is good.
pub(crate) fn life(said: Option<&prost_types::Duration>) -> Result<Duration, Violation> {
    let Some(said) = said else { return Ok(DEFAULT_LIFE) };
    let (seconds, nanos) = (u64::try_from(said.seconds).ok(), u32::try_from(said.nanos).ok().filter(|nanos| *nanos < 1_000_000_000));
    let life = seconds.zip(nanos).map(|(seconds, nanos)| Duration::new(seconds, nanos));
    life.filter(|life| (SHORTEST_LIFE..=LONGEST_LIFE).contains(life))
        .ok_or_else(|| Violation::new("lifetime", "must be from 1 minute to 30 days"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_organization_is_told_is_within_its_bounds() {
        assert_eq!(name("  Plumbers & Söhne "), Ok("Plumbers & Söhne".to_owned()));
        assert_eq!(name(&"é".repeat(100)).unwrap().chars().count(), 100);
        for wrong in ["", "   ", &"x".repeat(101), "a\nb", "a\u{202e}b", "\u{200b}"] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!((role(0), role(1), role(2)), (Ok(MemberRole::Member), Ok(MemberRole::Member), Ok(MemberRole::Owner)));
        assert!(role(3).is_err() && role(-1).is_err() && required_role(0).is_err());
        for right in [None, Some(0), Some(1_000_000_000_000)] {
            assert_eq!(cap(right), Ok(right));
        }
        assert!([-1, 1_000_000_000_001, i64::MIN, i64::MAX].iter().all(|wrong| cap(Some(*wrong)).is_err()));
    }

    #[test]
    fn an_invitation_is_good_for_a_minute_to_thirty_days_and_else_for_a_week() {
        let said = |seconds, nanos| life(Some(&prost_types::Duration { seconds, nanos }));
        assert_eq!((life(None), said(60, 0), said(2_592_000, 0)), (Ok(DEFAULT_LIFE), Ok(SHORTEST_LIFE), Ok(LONGEST_LIFE)));
        for (seconds, nanos) in
            [(0, 0), (59, 999_999_999), (2_592_000, 1), (60, -1), (-60, 0), (60, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)]
        {
            assert!(said(seconds, nanos).is_err(), "{seconds} {nanos}");
        }
    }
}
