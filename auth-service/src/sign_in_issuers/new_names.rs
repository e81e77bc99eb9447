//! The name of a user who signs in with an issuer for the first time.

use unicode_normalization::UnicodeNormalization;

use super::PersonClaims;
use crate::user::UserName;

/// Characters that are taken of what an issuer says: behind them there is room for a number.
const MOST_CHARACTERS: usize = 50;

/// The name that an issuer's words come to: the preferred user name, else what stands before the `@` of the e-mail address, made a valid
/// name. It says nothing of who it is: anybody may call themselves anything at an issuer.
#[must_use]
pub fn name_of(person: &PersonClaims) -> String {
    let before_at = |text: &str| text.split('@').next().unwrap_or_default().to_owned();
    [&person.preferred_username, &person.email].into_iter().find_map(|text| valid(&before_at(text))).unwrap_or_else(|| "user".to_owned())
}

/// A name with a number behind it; the first has none.
#[must_use]
pub fn numbered(name: &str, number: u64) -> Option<UserName> {
    let text = if number < 2 { name.to_owned() } else { format!("{name}{number}") };
    UserName::parse_new(&text)
}

/// `None`: nothing of it can be in a name.
fn valid(text: &str) -> Option<String> {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    // Letters without their marks: `Zoë` becomes `zoe`.
    let kept: String = text.nfkd().filter(allowed).take(MOST_CHARACTERS).collect::<String>().to_ascii_lowercase();
    let kept = kept.trim_start_matches(['-', '.']);
    match kept.len() {
        0 => None,
        1 | 2 => Some(format!("user-{kept}")),
        _ => UserName::parse_new(kept).map(|name| name.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(preferred_username: &str, email: &str) -> String {
        let person = PersonClaims { preferred_username: preferred_username.to_owned(), email: email.to_owned(), full_name: String::new() };
        name_of(&person)
    }

    #[test]
    fn a_name_is_made_of_what_the_issuer_says_and_is_always_a_valid_one() {
        for (preferred, email, name) in [
            ("ada", "x@y.example", "ada"),
            ("", "Ada.Lovelace@example.com", "ada.lovelace"),
            ("Zo\u{eb} M\u{fc}ller", "", "zoemuller"),
            ("ada@corp.example", "", "ada"),
            ("--rf", "", "user-rf"),
            ("\u{5c71}\u{7530}", "yamada@example.com", "yamada"),
            ("\u{202e}\u{0}\n", "@", "user"),
            ("", "", "user"),
            ("a", "", "user-a"),
        ] {
            assert_eq!(named(preferred, email), name, "{preferred:?} {email:?}");
        }
        let long = named(&"x".repeat(500), "");
        assert!(numbered(&long, u64::MAX / 1_000_000).is_some(), "{long}");
    }

    #[test]
    fn the_second_of_a_name_has_a_number_and_a_credential_is_no_name() {
        let [one, two] = [1, 2].map(|number| numbered("ada", number).unwrap().to_string());
        assert_eq!([one.as_str(), two.as_str()], ["ada", "ada2"]);
        let key = crate::api_key::ApiKey::random(crate::ids::AccountId::parse("0123456789abcdef").unwrap()).unwrap();
        assert_eq!(named(key.reveal(), ""), "user");
    }
}
