//! The fields that make a user, and the one that names a user: of sign-up, and of what operators do.

use crate::ids::UserId;
use crate::password::{NewPassword, Owner};
use crate::profile;
use crate::service::service_error::ServiceError;
use crate::service::violations::{Violation, Violations, plain_text};
use crate::store::NewUser;
use crate::user::{Role, UserName};

/// What a new user is made of, its fields checked.
pub(crate) struct UserFields {
    pub(crate) user_name: UserName,
    pub(crate) password: NewPassword,
    pub(crate) full_name: String,
    pub(crate) email: String,
}

impl UserFields {
    pub(crate) fn parse(user_name: &str, password: &str, full_name: String, email: String) -> Result<Self, Vec<Violation>> {
        let mut violations = Violations::default();
        let user_name = violations.keep(new_user_name(user_name));
        let (full_name, email) = (plain_text("full_name", full_name, 200), new_email(email));
        let owner = Owner {
            user_name: user_name.as_ref().map_or("", UserName::as_str),
            email: email.as_deref().unwrap_or_default(),
            full_name: full_name.as_deref().unwrap_or_default(),
        };
        let password = violations.keep(new_password("password", password, &owner));
        let (full_name, email) = (violations.keep(full_name), violations.keep(email));
        let fields = || Some(Self { user_name: user_name?, password: password?, full_name: full_name?, email: email? });
        violations.into_result(fields())
    }

    pub(crate) fn into_new_user(self, password_hash: String, role: Role, starting_credits: i64) -> Result<NewUser, ServiceError> {
        let Self { user_name, full_name, email, .. } = self;
        Ok(NewUser { user_id: UserId::random()?, user_name, password_hash, full_name, email, role, starting_credits })
    }
}

/// The name of a user that may be there.
pub(crate) fn user_name(text: &str) -> Result<UserName, Violation> {
    UserName::parse(text).ok_or_else(|| Violation::new("user_name", "must be 3 to 64 letters, digits, '.', '_' or '-'"))
}

fn new_user_name(text: &str) -> Result<UserName, Violation> {
    let expected = "must be 3 to 64 letters, digits, '.', '_' or '-', and begin with a letter, a digit or '_'";
    UserName::parse_new(text).ok_or_else(|| Violation::new("user_name", expected))
}

/// A field with a password that is to be the owner's from now on.
pub(crate) fn new_password(field: &'static str, text: &str, owner: &Owner<'_>) -> Result<NewPassword, Violation> {
    NewPassword::parse(text, owner).map_err(|unfit| Violation::new(field, unfit.to_string()))
}

fn new_email(text: String) -> Result<String, Violation> {
    let expected = "must be empty, or an e-mail address of at most 254 characters: letters, digits, and . _ + - = ~ before one '@', and a \
                    host's name behind it";
    if text.is_empty() || profile::is_email(&text) { Ok(text) } else { Err(Violation::new("email", expected)) }
}
