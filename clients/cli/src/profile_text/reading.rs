//! Reading profiles: a small part of YAML, and nothing that means something else than it says.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::{Field, Mistake, Profile, ProfileText, check_name};
use crate::setting::Setting;

/// What an editor may put in front of a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

pub(super) fn read(text: String) -> Result<ProfileText, Mistake> {
    let (profiles, in_braces) = Reader::new(&text).document()?;
    Ok(ProfileText { text, profiles, in_braces })
}

struct Reader<'a> {
    text: &'a str,
    /// What the parser reads: without the mark.
    read: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    /// Where each of its characters begins, and the last one ends, in bytes of the text.
    places: Vec<usize>,
}

/// A scalar, as it is written.
struct Scalar {
    value: String,
    is_plain: bool,
    is_block: bool,
    line: usize,
    place: Range<usize>,
}

/// What a profile's name stands for.
struct Mapping {
    fields: Vec<Field>,
    braces: Option<Range<usize>>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let read = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let begin = text.len() - read.len();
        let places = read.char_indices().map(|(at, _)| begin + at).chain([text.len()]).collect();
        Self { text, read, parser: Parser::new_from_str(read), places }
    }

    fn document(mut self) -> Result<(Vec<Profile>, bool), Mistake> {
        // What YAML allows only in quotes or not at all: a terminal would obey some of it.
        let wrong = self.read.char_indices().find(|(_, c)| c.is_control() && !['\n', '\r', '\t'].contains(c));
        if let Some((at, _)) = wrong {
            return Err(mistake(self.read[..at].lines().count().max(1), "there is a control character"));
        }
        self.next()?;
        let (event, _) = self.next()?;
        if event == Event::StreamEnd {
            return Ok((Vec::new(), false));
        }
        let (profiles, in_braces) = match self.node()? {
            Node::Scalar(scalar) if scalar.is_nothing() => (Vec::new(), false),
            Node::Scalar(scalar) => return Err(mistake(scalar.line, "here profiles should stand: a name, a colon, and what it sets")),
            Node::Mapping(span) => {
                let in_braces = self.braces(span).is_some();
                (self.profiles()?, in_braces)
            }
        };
        self.next()?;
        match self.next()? {
            (Event::StreamEnd, _) => Ok((profiles, in_braces)),
            (_, span) => Err(mistake(span.start.line(), "a second document begins; only one is read")),
        }
    }

    fn profiles(&mut self) -> Result<Vec<Profile>, Mistake> {
        let mut profiles: Vec<Profile> = Vec::new();
        while let Some(key) = self.key()? {
            check_name(&key.value).map_err(|why| Mistake { line: key.line, why })?;
            if profiles.iter().any(|profile| profile.name == key.value) {
                return Err(mistake(key.line, "this profile stands twice"));
            }
            if profiles.iter().any(|profile| profile.name.eq_ignore_ascii_case(&key.value)) {
                return Err(mistake(key.line, "two profiles' names differ in upper and lower case alone"));
            }
            let Mapping { fields, braces } = self.profile(&key)?;
            profiles.push(Profile { name: key.value, fields, key: key.place, braces });
        }
        Ok(profiles)
    }

    fn profile(&mut self, name: &Scalar) -> Result<Mapping, Mistake> {
        let braces = match self.node()? {
            Node::Scalar(scalar) if scalar.is_nothing() => return Ok(Mapping { fields: Vec::new(), braces: None }),
            Node::Scalar(scalar) => {
                return Err(mistake(scalar.line, &format!("profile {:?} should be settings: {}", name.value, Setting::names())));
            }
            Node::Mapping(span) => self.braces(span),
        };
        let mut fields: Vec<Field> = Vec::new();
        let mut braces_end = None;
        while let Some(key) = self.key_or_end(&mut braces_end)? {
            let setting = Setting::named(&key.value).ok_or_else(|| unknown_field(&key, &name.value))?;
            if fields.iter().any(|field| field.setting == setting) {
                return Err(mistake(key.line, &format!("{} stands twice in profile {:?}", setting.name(), name.value)));
            }
            let value = match self.node()? {
                Node::Scalar(value) => value,
                Node::Mapping(span) => return Err(mistake(span.start.line(), &format!("{} should be text", setting.name()))),
            };
            check_value(setting, &value, key.line)?;
            let mut place = value.place;
            if value.is_block {
                // It ends where the next thing begins.
                place.end = place.start + self.text[place.clone()].trim_end().len();
            }
            let (line, key, is_block) = (key.line, key.place, value.is_block);
            fields.push(Field { setting, value: value.value, line, key, place, is_block });
        }
        let set = |setting| fields.iter().find(|field| field.setting == setting && !field.value.is_empty());
        if let (Some(key), Some(session)) = (set(Setting::Key), set(Setting::Session)) {
            let line = key.line.max(session.line);
            return Err(mistake(line, &format!("profile {:?} has both key and session: one of them must go", name.value)));
        }
        let braces = braces.zip(braces_end).map(|(begin, end): (usize, usize)| begin..end);
        Ok(Mapping { fields, braces })
    }

    /// The next key of a mapping; `None` at its end.
    fn key(&mut self) -> Result<Option<Scalar>, Mistake> {
        self.key_or_end(&mut None)
    }

    fn key_or_end(&mut self, end: &mut Option<usize>) -> Result<Option<Scalar>, Mistake> {
        let (event, span) = self.next()?;
        match event {
            Event::MappingEnd => {
                *end = Some(self.place(span).end);
                Ok(None)
            }
            event => match self.node_of(event, span)? {
                Node::Scalar(scalar) => Ok(Some(scalar)),
                Node::Mapping(span) => Err(mistake(span.start.line(), "a name should be text")),
            },
        }
    }

    fn node(&mut self) -> Result<Node, Mistake> {
        let (event, span) = self.next()?;
        self.node_of(event, span)
    }

    fn node_of(&self, event: Event<'_>, span: Span) -> Result<Node, Mistake> {
        let refused = |what: &str| Err(mistake(span.start.line(), what));
        match event {
            Event::Alias(_) => refused("an alias (*) isn't read here: write the value itself"),
            Event::Scalar(_, _, 1.., _) | Event::MappingStart(1.., _) | Event::SequenceStart(1.., _) => {
                refused("an anchor (&) isn't read here: write the value itself where it is needed")
            }
            Event::Scalar(_, _, _, Some(_)) | Event::MappingStart(_, Some(_)) | Event::SequenceStart(_, Some(_)) => {
                refused("a tag (!) isn't read here")
            }
            Event::SequenceStart(..) => refused("a list isn't read here"),
            Event::Scalar(value, style, _, _) => Ok(Node::Scalar(Scalar {
                value: value.into_owned(),
                is_plain: style == ScalarStyle::Plain,
                is_block: matches!(style, ScalarStyle::Literal | ScalarStyle::Folded),
                line: span.start.line(),
                place: self.place(span),
            })),
            Event::MappingStart(..) => Ok(Node::Mapping(span)),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => refused("a name or a value is missing"),
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Mistake> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(mistake(error.marker().line(), &format!("this is no YAML: {}", error.info()))),
            None => Err(mistake(self.read.lines().count(), "the text ends too early")),
        }
    }

    /// Where a mapping begins, if it is in braces.
    fn braces(&self, span: Span) -> Option<usize> {
        let begin = self.place(span).start;
        self.text[begin..].starts_with('{').then_some(begin)
    }

    fn place(&self, span: Span) -> Range<usize> {
        let at = |index: usize| self.places.get(index).copied().unwrap_or(self.text.len());
        at(span.start.index())..at(span.end.index())
    }
}

enum Node {
    Scalar(Scalar),
    Mapping(Span),
}

impl Scalar {
    /// Nothing is written at all.
    fn is_nothing(&self) -> bool {
        self.is_plain && self.value.is_empty()
    }
}

fn mistake(line: usize, why: &str) -> Mistake {
    Mistake { line, why: why.to_owned() }
}

/// What is shown of the field is no more than a name is long: a key could stand there by mistake.
fn unknown_field(key: &Scalar, profile: &str) -> Mistake {
    let is_name = key.value.len() <= 24 && key.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-<".contains(&byte));
    let shown = if is_name { format!(" {:?}", key.value) } else { String::new() };
    mistake(key.line, &format!("unknown field{shown} of profile {profile:?}; known: {}", Setting::names()))
}

fn check_value(setting: Setting, value: &Scalar, line: usize) -> Result<(), Mistake> {
    let name = setting.name();
    if value.value.chars().any(char::is_control) {
        return Err(mistake(line, &format!("{name} holds a line break or another control character")));
    }
    match value.is_plain.then(|| other_type(&value.value)).flatten() {
        Some(kind) => Err(mistake(line, &format!("{name} should be text, and without quotes YAML reads {kind} here"))),
        None => Ok(()),
    }
}

/// What YAML's core schema reads in place of text.
pub(super) fn other_type(plain: &str) -> Option<&'static str> {
    match plain {
        "~" | "null" | "Null" | "NULL" => return Some("nothing"),
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Some("a truth value"),
        ".nan" | ".NaN" | ".NAN" => return Some("a number"),
        _ => {}
    }
    let unsigned = plain.strip_prefix(['-', '+']).unwrap_or(plain);
    let based = |prefix: &str, digit: fn(&u8) -> bool| {
        plain.strip_prefix(prefix).is_some_and(|digits| !digits.is_empty() && digits.as_bytes().iter().all(digit))
    };
    let is_number = matches!(unsigned, ".inf" | ".Inf" | ".INF")
        || is_decimal(unsigned)
        || based("0x", u8::is_ascii_hexdigit)
        || based("0o", |byte| (b'0'..=b'7').contains(byte));
    is_number.then_some("a number")
}

/// `\.[0-9]+` or `[0-9]+(\.[0-9]*)?`, and an exponent.
fn is_decimal(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let is_exponent = |text: &str| {
        let text = text.strip_prefix(['-', '+']).unwrap_or(text);
        !text.is_empty() && digits(text)
    };
    let is_mantissa = match mantissa.split_once('.') {
        None => !mantissa.is_empty() && digits(mantissa),
        Some((whole, part)) => digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty()),
    };
    is_mantissa && exponent.is_none_or(is_exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ProfileText, Mistake> {
        ProfileText::parse(text.to_owned())
    }

    fn refused(text: &str) -> String {
        let mistake = read(text).expect_err(text).to_string();
        assert!(!mistake.contains("canary"), "{text:?}: {mistake}");
        mistake
    }

    #[test]
    fn every_way_in_which_editors_write_a_profile_is_read() {
        for text in [
            "work:\n  key: tg_x\n  url: http://h:1\n",
            "\u{feff}work:\r\n  key: tg_x\r\n  url: http://h:1\r\n",
            "---\n# mine\nwork:\n    url: 'http://h:1'   # there\n\n    key: \"tg_x\"",
            "{work: {key: tg_x, url: \"http://h:1\"}}",
            "work: {key: tg_x,\n  url: http://h:1}\nplay:\n",
            "  work:\n     key: >-\n       tg_x\n     url: http://h:1\n     ca:\n     model: ''\n",
        ] {
            let read = read(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            let work = read.profile("work").unwrap();
            assert_eq!((work.get(Setting::Key), work.get(Setting::Url), work.values().count()), (Some("tg_x"), Some("http://h:1"), 2));
        }
        for nothing in ["", "\n", "# nothing yet\n", "---\n", "{}", "\u{feff}"] {
            assert!(read(nothing).unwrap().profiles().is_empty(), "{nothing:?}");
        }
    }

    #[test]
    fn what_isnt_profiles_is_refused_with_its_line_and_without_its_values() {
        for (text, line, why) in [
            ("canary", 1, "profiles should stand"),
            ("- canary", 1, "a list"),
            ("work: canary", 1, "should be settings"),
            ("work:\n  - canary", 2, "a list"),
            ("work:\n  key: [canary]", 2, "a list"),
            ("work:\n  key: {canary: canary}", 2, "should be text"),
            ("work:\n  keys: canary", 2, "unknown field \"keys\" of profile \"work\"; known: account, auth_url, ca,"),
            ("work:\n  tg_canaryaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: x", 2, "unknown field of"),
            ("work:\n  key: a\n  url: b\n  key: canary", 4, "key stands twice"),
            ("work:\n  key: a\nwork:\n  url: canary", 3, "this profile stands twice"),
            ("work:\n  key: a\nWork:\n  url: canary", 3, "upper and lower case"),
            ("work: &all\n  key: canary", 1, "an anchor"),
            ("a: {key: x}\nwork: *a", 2, "this is no YAML"),
            ("a: &a {key: x}\nwork:\n  <<: *a", 1, "an anchor"),
            ("work:\n  <<: {key: canary}", 2, "unknown field \"<<\""),
            ("work:\n  key: !!str canary", 2, "a tag"),
            ("work: !x {key: canary}", 1, "a tag"),
            ("work:\n  key: canary\n---\nplay:\n", 3, "a second document"),
            ("? {a: canary}\n: b", 1, "a name should be text"),
            ("work:\n\tkey: canary", 2, "no YAML"),
            ("work:\n  key: 'canary", 2, "no YAML"),
            ("work:\n  url: |\n    canary\n", 2, "a line break"),
            ("work:\n  url: \"can\\u0007ary\"", 2, "control character"),
            ("work:\n  key: can\u{1b}ary", 2, "control character"),
            ("work:\n  key: a\n  session: canary", 3, "both key and session"),
            ("work:\n  session: canary\n\n  key: a", 4, "both key and session"),
            ("a/b:\n  key: canary", 1, "a profile's name"),
            ("../x:\n  key: canary", 1, "a profile's name"),
            ("work.lock:\n  key: canary", 1, "a profile's name"),
            (": canary", 1, "a profile's name"),
        ] {
            let said = refused(text);
            assert!(said.starts_with(&format!("line {line}: ")) && said.contains(why), "{text:?}: {said}");
        }
    }

    #[test]
    fn a_value_that_yaml_reads_as_something_else_than_text_must_be_in_quotes() {
        for plain in
            ["~", "null", "NULL", "true", "False", "7", "-7", "+7", "0x1F", "0o17", "1.5", ".5", "5.", "1e9", "-.inf", ".NaN", "0123"]
        {
            let said = refused(&format!("work:\n  account: {plain}"));
            assert!(said.starts_with("line 2: account should be text"), "{plain}: {said}");
            let quoted = read(&format!("work:\n  account: '{plain}'")).unwrap();
            assert_eq!(quoted.profile("work").unwrap().get(Setting::Account), Some(plain));
        }
        for text in ["yes", "no", "on", "2026-11-29", "1.2.3", "0x", "0o8", "e5", ".", "1e", "12ab", "0123456789abcdef", "nullx", "True!"] {
            let said = read(&format!("work:\n  account: {text}")).unwrap();
            assert_eq!(said.profile("work").unwrap().get(Setting::Account), Some(text), "{text}");
        }
    }

    #[test]
    fn what_grows_when_it_is_read_is_refused_before_it_grows() {
        let laughs: String = (1..40).map(|n| format!("l{n}: &l{n} [*l{0}, *l{0}, *l{0}]\n", n - 1)).collect();
        assert!(refused(&format!("l0: &l0 {{key: canary}}\n{laughs}")).contains("an anchor"));
        for (open, close) in [("[", "]"), ("{a: ", "}")] {
            let deep = format!("work: {}{}", open.repeat(12_000), close.repeat(12_000));
            assert!(read(&deep).is_err());
        }
        assert!(read(&"work:\n ".repeat(9_000)).is_err());
    }
}
