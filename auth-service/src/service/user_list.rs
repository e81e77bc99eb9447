//! Lists of users for operators: what is asked for, and the pages.

use shared::proto::auth as pb;

use crate::ids::UserId;
use crate::service::contract;
use crate::service::ledger_page::page_size;
use crate::service::violations::{Violation, Violations};
use crate::store::{StateFilter, UserPage, UserPosition, UserQuery};
use crate::user::UserName;

/// What a request asks for.
pub(crate) fn parse(request: &pb::ListUsersRequest) -> Result<UserQuery, Vec<Violation>> {
    let mut violations = Violations::default();
    let limit = violations.keep(page_size(request.page_size));
    let after = violations.keep(page_start(&request.page_token));
    let prefix = violations.keep(name_prefix(&request.name_prefix));
    let state = violations.keep(state(request));
    let query = || Some(UserQuery { prefix: prefix?, state: state?, after: after?, limit: limit? });
    violations.into_result(query())
}

/// What names begin with: characters of names, their case folded.
fn name_prefix(text: &str) -> Result<String, Violation> {
    if text.is_empty() {
        return Ok(String::new());
    }
    // No name is shorter than three characters, and a prefix may be.
    let filled = format!("{text}{}", &"aaa"[text.len().min(3)..]);
    match UserName::parse(&filled) {
        Some(name) => Ok(name.as_str()[..text.len()].to_owned()),
        None => Err(Violation::new("name_prefix", "must be empty, or at most 64 letters, digits, '.', '_' or '-'")),
    }
}

fn state(request: &pb::ListUsersRequest) -> Result<Option<StateFilter>, Violation> {
    match request.state() {
        pb::UserState::Unspecified if request.state != 0 => {
            Err(Violation::new("state", "must be USER_STATE_ENABLED, USER_STATE_DISABLED or USER_STATE_LOCKED, or unset for all"))
        }
        pb::UserState::Unspecified => Ok(None),
        pb::UserState::Enabled => Ok(Some(StateFilter::Enabled)),
        pb::UserState::Disabled => Ok(Some(StateFilter::Disabled)),
        pb::UserState::Locked => Ok(Some(StateFilter::Locked)),
    }
}

/// Where a page starts: opaque, so that it may come to name something else.
fn page_token(position: &UserPosition) -> String {
    format!("u{}{}", position.user_id, position.name)
}

fn page_start(token: &str) -> Result<Option<UserPosition>, Violation> {
    if token.is_empty() {
        return Ok(None);
    }
    let parse = || {
        let (user_id, name) = token.strip_prefix('u')?.split_at_checked(UserId::LENGTH)?;
        Some(UserPosition { name: UserName::parse(name)?, user_id: UserId::parse(user_id)? })
    };
    let position = parse().filter(|position| page_token(position) == token);
    position.map(Some).ok_or_else(|| Violation::new("page_token", "must be a next_page_token of this method, or empty"))
}

/// A page, as the contract has it.
pub(crate) fn answer(page: UserPage) -> pb::ListUsersResponse {
    pb::ListUsersResponse {
        users: page.users.into_iter().map(contract::user_for_operators).collect(),
        next_page_token: page.next.as_ref().map(page_token).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_is_read_as_it_was_given_and_anything_else_is_refused() {
        let position = UserPosition { name: UserName::parse("ada.l").unwrap(), user_id: UserId::parse("0123456789abcdef").unwrap() };
        assert_eq!(page_start(&page_token(&position)).unwrap(), Some(position));
        assert_eq!(page_start("").unwrap(), None);
        for other in ["u", "l1", "u0123456789abcdef", "u0123456789abcdefAda.l", "0123456789abcdefada", "u0123456789abcde\u{e9}ada", "x"] {
            assert!(page_start(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_prefix_is_folded_like_a_name_and_has_a_names_characters_alone() {
        let longest = "x".repeat(64);
        for (text, prefix) in [("", ""), ("A", "a"), ("Ab", "ab"), ("ADA.", "ada."), ("_", "_"), (&longest, &longest)] {
            assert_eq!(name_prefix(text).unwrap(), prefix);
        }
        for text in [" ", "a!", "a{", "\u{e9}", "a\n", "*", &"x".repeat(65)] {
            assert!(name_prefix(text).is_err(), "{text:?}");
        }
    }
}
