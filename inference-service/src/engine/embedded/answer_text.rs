//! Tokens' bytes to text that may be shown: whole characters only, and nothing of a stop sequence.

/// The text of one answer, as it grows.
pub(super) struct AnswerText {
    stops: Vec<String>,
    /// Bytes that are no whole character yet: at most three.
    incomplete: Vec<u8>,
    /// Whole characters that could be a stop sequence's beginning.
    held: String,
}

/// What there is to show now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// May be empty.
    pub(super) text: String,
    /// A stop sequence came: the answer ends before it.
    pub(super) stopped: bool,
}

impl AnswerText {
    /// Empty stop sequences are ignored.
    pub(super) fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, incomplete: Vec::new(), held: String::new() }
    }

    /// Adds a token's bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Shown {
        self.incomplete.extend_from_slice(bytes);
        self.take_whole_characters();
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return Shown { text: std::mem::take(&mut self.held), stopped: true };
        }
        let hold = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - hold);
        Shown { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// The rest, when no token follows: what was held back is no stop sequence. A character that never became whole is dropped.
    pub(super) fn finish(self) -> String {
        self.held
    }

    fn take_whole_characters(&mut self) {
        let mut taken = 0;
        for chunk in self.incomplete.utf8_chunks() {
            self.held.push_str(chunk.valid());
            taken += chunk.valid().len();
            let rest = &self.incomplete[taken..];
            if chunk.invalid().is_empty() || could_become_whole(rest) {
                break;
            }
            self.held.push(char::REPLACEMENT_CHARACTER);
            taken += chunk.invalid().len();
        }
        self.incomplete.drain(..taken);
    }
}

/// Whether bytes that are no whole character are one's beginning.
fn could_become_whole(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

/// Length of the longest end of `text` that is a beginning of `stop`, in bytes; always a character border.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices().map(|(at, _)| at).rev().find(|&at| text.ends_with(&stop[..at])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], tokens: &[&[u8]]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut answer = AnswerText::new(&stops);
        let mut shown = Vec::new();
        for token in tokens {
            let next = answer.push(token);
            shown.push(next.text);
            if next.stopped {
                return (shown, true);
            }
        }
        shown.push(answer.finish());
        (shown, false)
    }

    #[test]
    fn a_character_is_shown_when_its_last_byte_is_there() {
        let (shown, _) = run(&[], &[b"a\xf0\x9f", b"\x98", b"\x80b"]);
        assert_eq!(shown, ["a", "", "😀b", ""]);
    }

    #[test]
    fn what_can_never_become_a_character_is_replaced_and_half_a_character_at_the_end_is_dropped() {
        let (shown, _) = run(&[], &[b"a\xffb", b"\xf0\x9f", b"c\xe2\x82"]);
        assert_eq!(shown.concat(), "a\u{fffd}b\u{fffd}c");
    }

    #[test]
    fn a_stop_sequence_across_tokens_is_never_shown_in_part() {
        let (shown, stopped) = run(&["three"], &[b"one t", b"wo th", b"r", b"ee four"]);
        assert_eq!(shown, ["one ", "two ", "", ""]);
        assert!(stopped);
    }

    #[test]
    fn what_only_began_like_a_stop_sequence_is_shown_after_all() {
        let (shown, stopped) = run(&["three"], &[b"th", b"ing th"]);
        assert_eq!(shown, ["", "thing ", "th"]);
        assert!(!stopped);
    }

    #[test]
    fn the_earliest_of_several_stop_sequences_counts() {
        let (shown, stopped) = run(&["d", "bc", ""], &[b"abcd"]);
        assert_eq!((shown.concat().as_str(), stopped), ("a", true));
    }

    #[test]
    fn a_repeating_stop_sequence_is_found() {
        let (shown, stopped) = run(&["aab", "ü\n"], &[b"a", b"a", b"a", b"b"]);
        assert_eq!((shown.concat().as_str(), stopped), ("a", true));
    }
}
