//! What a `pattern` may be. Ollama turns it into a grammar, and what follows here is what its converter was seen to do with others.
//!
//! A repetition that follows nothing and `(?…)` end the process of Ollama 0.24; an unescaped `]` or `}` keeps it busy for ever; so does the
//! sampler what can match nothing in very many ways, such as `(|)(|)(|)…`.

/// The bounds on one pattern.
#[derive(Debug, Clone, Copy)]
pub(super) struct PatternLimits {
    /// Its bytes.
    pub(super) bytes: usize,
    /// Groups within each other.
    pub(super) groups: usize,
    /// Repetitions within each other.
    pub(super) nested_repetitions: usize,
    /// The most that one repetition may count.
    pub(super) count: u64,
    /// Characters once its counted repetitions are written out.
    pub(super) written_out: u64,
    /// Ways in which it can go on at one place.
    pub(super) ways: u64,
}

/// What a schema is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::prompt) enum SchemaUse {
    /// A tool's parameters: text that the model reads. No converter sees them, so groups of the form `(?…)` and long repetitions are fine.
    Tool,
    /// The form of the answer, of which a grammar is made.
    Format,
}

/// A piece of a pattern: how much it comes to. All counts are upper bounds.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// In how many ways it can match nothing.
    empty: u64,
    /// How many places are looked at, from its start, to find what may come next.
    looks: u64,
    /// The same two from a place within it: in how many ways its rest can match nothing, and how many places are looked at.
    rest_empty: u64,
    rest_looks: u64,
    /// The most places that are looked at from any place within it.
    most_looks: u64,
    written_out: u64,
    nested: usize,
}

impl Piece {
    /// No alternative yet.
    const NEVER: Self = Self { empty: 0, looks: 0, rest_empty: 0, rest_looks: 0, most_looks: 0, written_out: 0, nested: 0 };
    /// No part of a sequence yet.
    const NOTHING: Self = Self { empty: 1, ..Self::NEVER };
    const CHARACTER: Self = Self { looks: 1, rest_empty: 1, most_looks: 1, written_out: 1, ..Self::NEVER };

    fn then(self, next: Self) -> Self {
        let looks = self.looks.saturating_add(self.empty.saturating_mul(next.looks));
        let rest_looks = self.rest_looks.saturating_add(self.rest_empty.saturating_mul(next.looks)).max(next.rest_looks);
        Self {
            empty: self.empty.saturating_mul(next.empty),
            looks,
            rest_empty: self.rest_empty.saturating_mul(next.empty).max(next.rest_empty),
            rest_looks,
            most_looks: self.most_looks.max(next.most_looks).max(looks).max(rest_looks),
            written_out: self.written_out.saturating_add(next.written_out),
            nested: self.nested.max(next.nested),
        }
    }

    fn or(self, other: Self) -> Self {
        let looks = self.looks.saturating_add(other.looks);
        Self {
            empty: self.empty.saturating_add(other.empty),
            looks,
            rest_empty: self.rest_empty.max(other.rest_empty),
            rest_looks: self.rest_looks.max(other.rest_looks),
            most_looks: self.most_looks.max(other.most_looks).max(looks),
            written_out: self.written_out.saturating_add(other.written_out),
            nested: self.nested.max(other.nested),
        }
    }

    /// `least` times to `most` times; `None`: without end.
    fn repeated(self, least: u64, most: Option<u64>) -> Result<Self, &'static str> {
        if most.is_none() && self.empty > 0 {
            return Err("must not repeat without end what may match nothing");
        }
        let times = most.unwrap_or(least.saturating_add(1));
        // In how many ways the repetitions before each one can match nothing, all together.
        let (mut power, mut before, mut empty) = (1_u64, 0_u64, u64::from(least == 0));
        for time in 1..=times {
            before = before.saturating_add(power);
            power = power.saturating_mul(self.empty);
            if time >= least {
                empty = empty.saturating_add(power);
            }
        }
        let looks = self.looks.saturating_mul(before).saturating_add(1);
        let rest_looks = self.rest_looks.saturating_add(self.rest_empty.saturating_mul(looks));
        Ok(Self {
            empty,
            looks,
            rest_empty: self.rest_empty.saturating_mul(before.max(1)),
            rest_looks,
            most_looks: self.most_looks.max(looks).max(rest_looks),
            written_out: self.written_out.saturating_mul(times.max(1)),
            nested: self.nested + usize::from(times > 1),
        })
    }
}

/// A group that is still open; the pattern itself is the outermost.
struct Group {
    alternatives: Piece,
    sequence: Piece,
    last: Option<Piece>,
    /// Plain characters since the last that was none: the converter may repeat all of them where one was meant.
    run: u64,
}

impl Group {
    const OPEN: Self = Self { alternatives: Piece::NEVER, sequence: Piece::NOTHING, last: None, run: 0 };

    fn push(&mut self, piece: Piece) {
        if let Some(last) = self.last.replace(piece) {
            self.sequence = self.sequence.then(last);
        }
    }

    fn end_alternative(&mut self) {
        if let Some(last) = self.last.take() {
            self.sequence = self.sequence.then(last);
        }
        self.alternatives = self.alternatives.or(self.sequence);
        self.sequence = Piece::NOTHING;
        self.run = 0;
    }

    fn repeat(&mut self, least: u64, most: Option<u64>) -> Result<(), String> {
        let Some(last) = self.last.take() else { return Err("must not have a repetition that follows nothing".to_owned()) };
        let last = Piece { written_out: last.written_out.max(self.run), ..last };
        self.last = Some(last.repeated(least, most)?);
        self.run = 0;
        Ok(())
    }
}

/// Checks a pattern, and answers how many characters it has once its repetitions are written out. The error says what it must be.
pub(super) fn check(pattern: &str, schema_use: SchemaUse, limits: &PatternLimits) -> Result<u64, String> {
    if pattern.len() > limits.bytes {
        return Err(format!("must be at most {} bytes; it has {}", limits.bytes, pattern.len()));
    }
    let inner = pattern.strip_prefix('^').unwrap_or(pattern);
    let mut rest = inner.strip_suffix('$').unwrap_or(inner);
    let mut outer: Vec<Group> = Vec::new();
    let mut group = Group::OPEN;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '(' => {
                if outer.len() == limits.groups {
                    return Err(format!("must have at most {} groups within each other", limits.groups));
                }
                if let Some(after) = rest.strip_prefix('?') {
                    if schema_use == SchemaUse::Format {
                        return Err("must not have a group that starts with (?, which Ollama can't read; write (…)".to_owned());
                    }
                    rest = special_group(after)?;
                }
                outer.push(std::mem::replace(&mut group, Group::OPEN));
            }
            ')' => {
                group.end_alternative();
                let Some(open) = outer.pop() else { return Err("must close only groups that are open: write \\)".to_owned()) };
                let inside = std::mem::replace(&mut group, open).alternatives;
                group.push(inside);
                group.run = 0;
            }
            '|' => group.end_alternative(),
            '[' => {
                rest = class(rest)?;
                group.push(Piece::CHARACTER);
                group.run = 0;
            }
            ']' | '}' => return Err(format!("must have no {character} outside of what it closes: write \\{character}")),
            '*' => group.repeat(0, None)?,
            '+' => group.repeat(1, None)?,
            '?' => group.repeat(0, Some(1))?,
            '{' => {
                let (counts, after) = rest.split_once('}').ok_or("must have a } for each {, or write \\{")?;
                let (least, most) = counted(counts, limits.count)?;
                group.repeat(least, most)?;
                rest = after;
            }
            '.' => {
                group.push(Piece::CHARACTER);
                group.run = 0;
            }
            '\\' => {
                let escaped = rest.chars().next().ok_or("must not end with a single backslash")?;
                rest = &rest[escaped.len_utf8()..];
                group.push(Piece::CHARACTER);
                group.run += 1;
            }
            _ => {
                group.push(Piece::CHARACTER);
                group.run += 1;
            }
        }
    }
    if !outer.is_empty() {
        return Err("must close each group: write \\( for the character".to_owned());
    }
    group.end_alternative();
    let whole = group.alternatives;
    if whole.nested > limits.nested_repetitions {
        return Err(format!("must have at most {} repetitions within each other", limits.nested_repetitions));
    }
    if whole.written_out > limits.written_out {
        return Err(format!("must be at most {} characters once its repetitions are written out", limits.written_out));
    }
    if whole.most_looks.max(whole.empty).max(whole.rest_empty) > limits.ways {
        return Err(format!("must go on in at most {} ways at one place; it has too many parts that may match nothing", limits.ways));
    }
    Ok(whole.written_out)
}

/// What follows the head of a group that began with `(?`.
fn special_group(after: &str) -> Result<&str, String> {
    if let Some(rest) = [":", "=", "!", "<=", "<!"].into_iter().find_map(|head| after.strip_prefix(head)) {
        return Ok(rest);
    }
    let named = after.strip_prefix('P').unwrap_or(after).strip_prefix('<').and_then(|name| name.split_once('>'));
    named.map(|(_, rest)| rest).ok_or_else(|| "must have only groups that begin with (, (?:, (?=, (?!, (?<=, (?<! or (?<name>".to_owned())
}

/// What follows a class. The converter ends one at its first `]`, also at one right after the `[`.
fn class(text: &str) -> Result<&str, String> {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b']' if matches!(&text[..index], "" | "^") => return Err("must have no empty class: write \\] for the character".to_owned()),
            b']' => return Ok(&text[index + 1..]),
            _ => {}
        }
    }
    Err("must have a ] for each [, or write \\[".to_owned())
}

/// What is between `{` and `}`: both counts, the second `None` when there is none.
fn counted(counts: &str, most: u64) -> Result<(u64, Option<u64>), String> {
    let refused = || format!("must repeat {{n}}, {{n,}} or {{n,m}} times, n at most m, both at most {most}");
    let number = |text: &str| {
        let digits = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().filter(|count| *count <= most).ok_or_else(refused)
    };
    let (low, high) = match counts.split_once(',') {
        None => (number(counts)?, Some(number(counts)?)),
        Some((low, "")) => (number(low)?, None),
        Some(("", high)) => (0, Some(number(high)?)),
        Some((low, high)) => (number(low)?, Some(number(high)?)),
    };
    if high.is_some_and(|high| high < low) { Err(refused()) } else { Ok((low, high)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::schema_guard::LIMITS;

    fn checked(pattern: &str) -> Result<u64, String> {
        check(pattern, SchemaUse::Format, &LIMITS.pattern)
    }

    #[test]
    fn patterns_as_people_write_them_are_taken() {
        for pattern in [
            "^[A-Z]{2}[0-9]{4,10}$",
            "^[^@ ]+@[^@ ]+\\.[a-z]{2,63}$",
            "^(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)$",
            "^[a-z0-9]+(-[a-z0-9]+)*$",
            "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$",
            "^(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(\\.(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3}$",
            "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?)?$",
            "^(|[0-9]{5})$",
            "^.{0,1000}$",
            "^\\+?[0-9 ]{7,15}$",
            "^[\\[\\]\\^-]\\{é\\}$",
            "no anchors",
            "^$",
            "",
        ] {
            checked(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        }
    }

    #[test]
    fn what_crashes_or_hangs_the_converter_of_ollama_0_24_is_refused() {
        for pattern in [
            "^*$",
            "^+a$",
            "^?$",
            "^{2}$",
            "^(*)$",
            "^(a|*)$",
            "^|+$",
            "^(?:abc)$",
            "^(?!x)a$",
            "^(?<n>a)$",
            "^]$",
            "^}$",
            "^[]a]$",
            "^a]b$",
            "^a{3,1}$",
            "^a{2001}$",
            "^a{1,2001}$",
            "^a{99999999999999999999}$",
            "^a{,}$",
            "^a{}$",
            "^a{-1,2}$",
            "^a{1,2,3}$",
            "^a{ 1}$",
            "^a{1$",
            "^[a$",
            "^(a$",
            "^a)b$",
            "^a\\$",
            "^[a\\]$",
            "^[^]$",
        ] {
            assert!(checked(pattern).unwrap_err().starts_with("must "), "{pattern}");
        }
    }

    #[test]
    fn nested_groups_repetitions_and_ways_to_match_nothing_are_bounded() {
        let nested = |levels: usize| format!("^{}a{}$", "(".repeat(levels), ")".repeat(levels));
        assert!(checked(&nested(LIMITS.pattern.groups)).is_ok());
        assert!(checked(&nested(LIMITS.pattern.groups + 1)).unwrap_err().contains("groups"));
        assert!(checked(&nested(20_000)).unwrap_err().contains("bytes"));
        for (pattern, limit) in [
            ("^((a{1,1000}){1,1000}){1,1000}$".to_owned(), "written out"),
            ("^(a{0,100}){100}$".to_owned(), "written out"),
            ("^a{100}{100}$".to_owned(), "written out"),
            (format!("^{}\\n{{1000}}$", "a".repeat(100)), "written out"),
            ("^(((((a+b)+c)+d)+e)+f)+$".to_owned(), "within each other"),
            ("^(a*)*$".to_owned(), "without end"),
            ("^(a?){2,}$".to_owned(), "without end"),
            ("^a**$".to_owned(), "without end"),
            ("^(|)+$".to_owned(), "without end"),
            (format!("^{}$", "(|)".repeat(40)), "ways"),
            (format!("^x{}y$", "(|)".repeat(40)), "ways"),
            (format!("^(x{}){}y$", "(|)".repeat(20), "(|)".repeat(20)), "ways"),
            (format!("^x{}y$", "a?".repeat(200)), "ways"),
            (format!("^{}$", "(a?|b?)".repeat(40)), "ways"),
            (format!("^{}$", "(a?)?".repeat(40)), "ways"),
            ("^((a?)?){0,40}$".to_owned(), "ways"),
            ("^(a?){0,1000}$".to_owned(), "ways"),
            ("^(a{0,30}){0,200}$".to_owned(), "written out"),
            (format!("^{}$", "a?".repeat(200)), "ways"),
            (format!("^({})$", vec!["a"; 200].join("|")), "ways"),
        ] {
            let refused = checked(&pattern).expect_err(&pattern);
            assert!(refused.contains(limit), "{pattern}: {refused}");
        }
    }

    #[test]
    fn a_tools_pattern_may_have_the_groups_that_zod_writes() {
        let email = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$";
        assert!(check(email, SchemaUse::Tool, &LIMITS.pattern).is_ok());
        assert!(check("^(?P<year>[0-9]{4})$", SchemaUse::Tool, &LIMITS.pattern).is_ok());
        for pattern in ["^(?*)$", "^(?)$", "^(?", "^(?<n", "^(?:*)$"] {
            assert!(check(pattern, SchemaUse::Tool, &LIMITS.pattern).is_err(), "{pattern}");
        }
    }
}
