//! Fields that aren't as they must be, all of one request at once.

use std::borrow::Cow;

use shared::credential_form::holds_credential;

use crate::profile;
use crate::service::service_error::ServiceError;

/// A field that isn't as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field's path, as the contract names it.
    pub field: Cow<'static, str>,
    /// What it must be; goes on from the field's name. Repeats no secret.
    pub expected: String,
}

impl Violation {
    /// A field, and what it must be.
    pub fn new(field: impl Into<Cow<'static, str>>, expected: impl Into<String>) -> Self {
        Self { field: field.into(), expected: expected.into() }
    }
}

/// Collects what is wrong with the fields of one request, so that a caller is told all of it at once.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// The value of a field; `None` with the violation noted.
    pub fn keep<T>(&mut self, parsed: Result<T, Violation>) -> Option<T> {
        parsed.map_err(|violation| self.0.push(violation)).ok()
    }

    /// The value of a part of a request; `None` with its violations noted.
    pub fn keep_all<T>(&mut self, parsed: Result<T, Vec<Violation>>) -> Option<T> {
        parsed.map_err(|violations| self.0.extend(violations)).ok()
    }

    /// Notes a violation unless something holds.
    pub fn require(&mut self, holds: bool, field: &'static str, expected: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Violation::new(field, expected()));
        }
    }

    /// What is made of the fields, or the refusal by all violations. `None` stands for a violation that was noted.
    pub fn finish<T>(self, made: Option<T>) -> Result<T, ServiceError> {
        self.into_result(made).map_err(ServiceError::Fields)
    }

    /// The same, for a part of a request.
    pub fn into_result<T>(mut self, made: Option<T>) -> Result<T, Vec<Violation>> {
        match made {
            Some(made) if self.0.is_empty() => Ok(made),
            _ => {
                // Fail closed: without a value there is no answer, whether or not a violation was noted.
                if self.0.is_empty() {
                    self.0.push(Violation::new("request", "must be complete"));
                }
                Err(self.0)
            }
        }
    }
}

/// All violations in one sentence each, the fields' names first.
pub(crate) fn sentence(violations: &[Violation]) -> String {
    let one = |violation: &Violation| format!("{} {}", violation.field, violation.expected);
    violations.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The field of a text for people: so many characters at most, none of them a control, a change of direction, or unseen.
pub(crate) fn plain_text(field: &'static str, value: String, most_characters: usize) -> Result<String, Violation> {
    // It is kept, and shown to others.
    if profile::is_plain(&value, most_characters) && !holds_credential(&value) {
        return Ok(value);
    }
    let expected = format!(
        "must have at most {most_characters} characters, and no controls, changes of direction or unseen characters; a credential doesn't \
         belong there"
    );
    Err(Violation::new(field, expected))
}
