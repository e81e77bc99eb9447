//! What people write about themselves and their things: text that is shown to others, in lists, logs and mails.

/// The most characters of an e-mail address (RFC 5321).
pub const MAX_EMAIL: usize = 254;
/// The most characters before its `@`.
const MAX_EMAIL_LOCAL: usize = 64;
/// The most characters of one part of a host's name.
const MAX_LABEL: usize = 63;

/// Whether a text may be shown beside others: so many characters at most, and none that ends the line, changes the direction of what comes
/// after it, or isn't seen.
#[must_use]
pub fn is_plain(text: &str, most_characters: usize) -> bool {
    text.chars().count() <= most_characters && !text.chars().any(is_deceptive)
}

/// Whether a text is an e-mail address that means one thing wherever it is put: a header, a list, a shell, a table, a page. That is less
/// than what RFC 5322 allows: no quotes, brackets, spaces, commas, semicolons or comments.
#[must_use]
pub fn is_email(text: &str) -> bool {
    let Some((local, host)) = text.split_once('@') else { return false };
    let in_local = |c: char| c.is_alphanumeric() || "._+-=~".contains(c);
    // What begins with `=`, `+` or `-` is a formula to a spreadsheet, or an option to a command.
    let local_ok = (1..=MAX_EMAIL_LOCAL).contains(&local.chars().count())
        && local.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        && local.chars().all(in_local)
        && !local.ends_with('.')
        && !local.contains("..");
    let label_ok = |label: &str| {
        (1..=MAX_LABEL).contains(&label.chars().count())
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    is_plain(text, MAX_EMAIL) && local_ok && host.split('.').all(label_ok)
}

/// Controls, line and paragraph ends, changes of direction (Trojan Source), and what takes no room, but for the two joiners that some
/// scripts are written with.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Not seen: soft hyphen, the combining joiner, fillers, separators, operators, marks of byte order, variations, tags.
            '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'
            | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
            // The ends of lines and paragraphs.
            | '\u{2028}' | '\u{2029}'
            // Direction: marks, embeddings, overrides, isolates.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_no_controls_no_changes_of_direction_and_nothing_unseen() {
        for good in ["", "Mario Mario", "Müller-Lüdenscheidt", "O'Brien, \"Bob\" <x>", "شهرزاد", "می\u{200c}خواهم", "👩\u{200d}🚒", "한글"]
        {
            assert!(is_plain(good, 40), "{good}");
        }
        for wrong in [
            "a\nb",
            "a\rb",
            "a\u{0}",
            "a\u{7f}",
            "a\u{85}b",
            "a\u{1b}[2J",
            "a\u{202e}b",
            "a\u{202a}",
            "a\u{2066}b\u{2069}",
            "a\u{200e}",
            "a\u{200f}",
            "a\u{61c}",
            "a\u{2028}b",
            "a\u{2029}",
            "a\u{200b}b",
            "a\u{feff}",
            "a\u{ad}b",
            "\u{3164}",
            "a\u{e0041}",
            "a\u{2064}",
        ] {
            assert!(!is_plain(wrong, 40), "{wrong:?}");
        }
        assert!(is_plain(&"ä".repeat(40), 40) && !is_plain(&"ä".repeat(41), 40));
    }

    #[test]
    fn an_email_address_means_one_thing_wherever_it_is_put() {
        for good in
            ["mario@example.com", "m.mario+shop@sub.example.co.uk", "_x@localhost", "a=b~c@example.com", "jörg@müller.example", "0@1.2"]
        {
            assert!(is_email(good), "{good}");
        }
        let (long_local, long) = (format!("{}@example.com", "x".repeat(65)), format!("x@{}com", "abcdefgh.".repeat(30)));
        for wrong in [
            "",
            "nowhere",
            "@example.com",
            "mario@",
            "mario@@example.com",
            "a@b@example.com",
            "mario@example.com\r\nBcc: all@example.com",
            "mario@example.com\n",
            "mario@exam\u{0}ple.com",
            "mario\u{7f}@example.com",
            "mario@example.com, luigi@example.com",
            "mario@example.com;luigi@example.com",
            "mario @example.com",
            " mario@example.com",
            "mario@example.com\u{a0}",
            "<mario@example.com>",
            "Mario <mario@example.com>",
            "\"mario\"@example.com",
            "'mario'@example.com",
            "`id`@example.com",
            "mario(comment)@example.com",
            "mario@[127.0.0.1]",
            "mario{x}@example.com",
            "mario\\@example.com",
            "$(id)@example.com",
            "a|b@example.com",
            "a%b@example.com",
            "a!b@example.com",
            "a&b@example.com",
            "a/b@example.com",
            "a?subject=x@example.com",
            "a#b@example.com",
            "a*@example.com",
            "-option@example.com",
            "=1+1@example.com",
            "+1@example.com",
            ".mario@example.com",
            "mario.@example.com",
            "ma..rio@example.com",
            "mario@.example.com",
            "mario@example.com.",
            "mario@-example.com",
            "mario@exa_mple.com",
            "mario@example.com:25",
            "mario\u{202e}@example.com",
            "mario\u{200b}@example.com",
            "mar\u{ad}io@example.com",
            "mario\u{3164}@example.com",
            "mario@example\u{2028}.com",
            &long_local,
            &long,
        ] {
            assert!(!is_email(wrong), "{wrong:?}");
        }
    }
}
