//! Changing a profile, and nothing else of the text.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Contents, Field, Profile, ProfileText, reading};
use crate::setting::Setting;

/// A change of the profiles.
// Not `Debug`: a value may be a key.
pub(crate) enum Change<'a> {
    /// A setting of a profile, which is made when it isn't there.
    Set { profile: &'a str, setting: Setting, value: &'a str },
    /// A profile says nothing of a setting any more.
    Unset { profile: &'a str, setting: Setting },
    /// A profile is no more.
    Remove { profile: &'a str },
}

impl ProfileText {
    /// The text after a change; `None` when the text is written in a way in which it can't be changed safely.
    pub(crate) fn changed(&self, change: &Change<'_>) -> Option<ProfileText> {
        let changed = ProfileText::parse(self.rewritten(change)).ok()?;
        // Whatever the text looks like, it says what was wanted and all that it said before.
        let mut wanted = self.contents();
        apply(&mut wanted, change);
        (changed.contents() == wanted).then_some(changed)
    }

    fn rewritten(&self, change: &Change<'_>) -> String {
        match *change {
            _ if self.in_braces => self.in_lines(change),
            Change::Set { profile, setting, value } => match self.profile(profile) {
                None => self.with_profile(profile, setting, value),
                Some(profile) => self.with_value(profile, setting, value),
            },
            Change::Unset { profile, setting } => match self.profile(profile) {
                Some(profile) if profile.braces.is_some() => self.with_fields(profile, |field| field.setting != setting, None),
                Some(profile) => match profile.fields.iter().find(|field| field.setting == setting) {
                    Some(field) => self.without(field.key.start..field.end()),
                    None => self.text.clone(),
                },
                None => self.text.clone(),
            },
            Change::Remove { profile } => match self.profile(profile) {
                Some(profile) => self.without(profile.key.start..profile.end()),
                None => self.text.clone(),
            },
        }
    }

    fn with_profile(&self, profile: &str, setting: Setting, value: &str) -> String {
        let newline = self.newline();
        let indent = self.profiles.first().map(|first| self.indent(first.key.start)).unwrap_or_default();
        let mut text = self.text.clone();
        if !text.is_empty() && !text.ends_with('\n') && text != "\u{feff}" {
            text.push_str(newline);
        }
        text + &format!("{indent}{}:{newline}{indent}  {}{newline}", quoted(profile), line(setting, value))
    }

    fn with_value(&self, profile: &Profile, setting: Setting, value: &str) -> String {
        if let Some(field) = profile.fields.iter().find(|field| field.setting == setting) {
            if field.is_block {
                return self.replaced(field.key.start..field.end(), &line(setting, value));
            }
            if !field.place.is_empty() {
                return self.replaced(field.place.clone(), &quoted(value));
            }
            // Nothing is written yet: the value goes behind the colon.
            let colon = self.text[field.key.end..].find(':').map_or(field.key.end, |at| field.key.end + at + 1);
            return self.replaced(field.key.start..colon, &line(setting, value));
        }
        if profile.braces.is_some() {
            return self.with_fields(profile, |_| true, Some((setting, value)));
        }
        let indent = match profile.fields.first() {
            Some(first) => self.indent(first.key.start).to_owned(),
            None => format!("{}  ", self.indent(profile.key.start)),
        };
        let end = self.end_of_line(profile.end());
        let newline = self.newline();
        let added = format!("{indent}{}{newline}", line(setting, value));
        let added = if self.text[..end].ends_with('\n') { added } else { format!("{newline}{added}") };
        self.replaced(end..end, &added)
    }

    /// A profile in braces, a setting a line.
    fn with_fields(&self, profile: &Profile, keeps: impl Fn(&Field) -> bool, added: Option<(Setting, &str)>) -> String {
        let Some(braces) = profile.braces.clone() else { return self.text.clone() };
        let indent = format!("{}{}  ", self.newline(), self.indent(profile.key.start));
        let kept = profile.fields.iter().filter(|field| keeps(field)).map(|field| (field.setting, field.value.as_str()));
        let lines: String = kept.chain(added).map(|(setting, value)| format!("{indent}{}", line(setting, value))).collect();
        self.replaced(braces, &lines)
    }

    /// All profiles, a setting a line.
    fn in_lines(&self, change: &Change<'_>) -> String {
        let mut contents = self.contents();
        apply(&mut contents, change);
        let fields = |fields: &BTreeMap<Setting, &str>| -> String {
            fields.iter().map(|(setting, value)| format!("  {}\n", line(*setting, value))).collect()
        };
        contents.iter().map(|(name, said)| format!("{}:\n{}", quoted(name), fields(said))).collect()
    }

    fn replaced(&self, place: Range<usize>, new: &str) -> String {
        format!("{}{new}{}", &self.text[..place.start], &self.text[place.end..])
    }

    /// Without the lines from one place to another.
    fn without(&self, place: Range<usize>) -> String {
        self.replaced(self.begin_of_line(place.start)..self.end_of_line(place.end), "")
    }

    fn begin_of_line(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    fn end_of_line(&self, at: usize) -> usize {
        self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline + 1)
    }

    /// What stands before something in its line, if that is blank.
    fn indent(&self, at: usize) -> &str {
        let before = self.text[self.begin_of_line(at)..at].trim_start_matches('\u{feff}');
        if before.bytes().all(|byte| byte == b' ') { before } else { "" }
    }

    fn newline(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }
}

impl Profile {
    /// Where the last thing that it says ends.
    fn end(&self) -> usize {
        let fields = self.fields.last().map(Field::end);
        fields.into_iter().chain(self.braces.as_ref().map(|braces| braces.end)).max().unwrap_or(self.key.end)
    }
}

impl Field {
    fn end(&self) -> usize {
        if self.place.is_empty() { self.key.end } else { self.place.end }
    }
}

fn apply<'a>(contents: &mut Contents<'a>, change: &Change<'a>) {
    let at = |contents: &Contents<'_>, name: &str| contents.iter().position(|(profile, _)| *profile == name);
    match *change {
        Change::Set { profile, setting, value } => match at(contents, profile) {
            None => contents.push((profile, BTreeMap::from([(setting, value)]))),
            Some(at) => {
                contents[at].1.insert(setting, value);
            }
        },
        Change::Unset { profile, setting } => {
            if let Some(at) = at(contents, profile) {
                contents[at].1.remove(&setting);
            }
        }
        Change::Remove { profile } => contents.retain(|(name, _)| *name != profile),
    }
}

fn line(setting: Setting, value: &str) -> String {
    format!("{}: {}", setting.name(), quoted(value))
}

/// A text in quotes, unless every reader of YAML reads it as text without.
fn quoted(value: &str) -> String {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./:-".contains(&byte))
        && value.as_bytes().first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'/')
        && !value.ends_with(':')
        && !["y", "n", "yes", "no", "on", "off"].contains(&value.to_ascii_lowercase().as_str())
        && reading::other_type(value).is_none();
    if is_plain { value.to_owned() } else { format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str, change: &Change<'_>) -> String {
        let read = ProfileText::parse(text.to_owned()).unwrap();
        read.changed(change).unwrap_or_else(|| panic!("{text:?} becomes {:?}", read.rewritten(change))).text().to_owned()
    }

    fn set<'a>(profile: &'a str, setting: Setting, value: &'a str) -> Change<'a> {
        Change::Set { profile, setting, value }
    }

    #[test]
    fn a_change_leaves_all_else_as_it_was_written() {
        let text =
            "# mine\nwork:   # at work\n  key: tg_x   # of the laptop\n\n  url: 'http://h:1'\n\n# for games\nplay: {url: http://p:1}\n";
        assert_eq!(changed(text, &set("work", Setting::Key, "tg_y")), text.replace("tg_x", "tg_y"));
        assert_eq!(changed(text, &set("work", Setting::Url, "http://h:2")), text.replace("'http://h:1'", "http://h:2"));
        assert_eq!(
            changed(text, &set("work", Setting::Model, "llama3.2")),
            text.replace("'http://h:1'\n", "'http://h:1'\n  model: llama3.2\n")
        );
        assert_eq!(changed(text, &set("play", Setting::Model, "m")), text.replace("{url: http://p:1}", "\n  url: http://p:1\n  model: m"));
        assert_eq!(changed(text, &set("home", Setting::Key, "tg_z")), format!("{text}home:\n  key: tg_z\n"));
        let unset = |profile, setting| changed(text, &Change::Unset { profile, setting });
        assert_eq!(unset("work", Setting::Key), text.replace("  key: tg_x   # of the laptop\n", ""));
        assert_eq!(unset("work", Setting::Ca), text);
        assert_eq!(unset("nobody", Setting::Ca), text);
        let removed = "# mine\n\n# for games\nplay: {url: http://p:1}\n";
        assert_eq!(changed(text, &Change::Remove { profile: "work" }), removed);
    }

    #[test]
    fn whatever_a_text_looks_like_a_change_is_made_or_it_says_that_it_cannot_be() {
        for text in [
            "",
            "\u{feff}",
            "# only words",
            "---\n",
            "{}",
            "work:",
            "work:\r\n  key:\r\nplay:\r\n  key: p\r\n",
            "\u{feff}work:\n    key:   # none yet\n    ca: ''\n",
            "work: {}\nplay: {key: p}",
            "{work: {key: k}, play: {}}",
            "  work:\n      key: k\n  play:\n      key: p",
            "work:\n  key: >-\n    k\n\n  ca: c\n",
            "work:\n  \"key\": \"k\"\n",
            "'work':\n  ca:\n    c\n  key: k",
            "work:\n  ca: ünï # ü\n  key: ü\n",
        ] {
            for setting in Setting::ALL.into_iter().filter(|setting| *setting != Setting::Session) {
                for value in ["tg_x", "http://h:1", "a b", "~/x", "0123", "true", "it's \"so\" \\ #1: {x}", "é", "-", "- a", "a: b", "yes"]
                {
                    let after = changed(text, &set("work", setting, value));
                    let read = ProfileText::parse(after.clone()).unwrap();
                    assert_eq!(read.profile("work").unwrap().get(setting), Some(value), "{text:?} {after:?}");
                    let unset = changed(&after, &Change::Unset { profile: "work", setting });
                    assert_eq!(ProfileText::parse(unset).unwrap().profile("work").unwrap().get(setting), None);
                    assert!(ProfileText::parse(changed(&after, &Change::Remove { profile: "work" })).unwrap().profile("work").is_none());
                }
            }
        }
        let ended = ProfileText::parse("work:\n  key: k\n...\n".to_owned()).unwrap();
        assert!(ended.changed(&set("play", Setting::Key, "p")).is_none(), "behind the end nothing is read");
    }
}
