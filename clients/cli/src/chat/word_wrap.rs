//! Lines of an answer broken between words, while the words come in pieces.

use unicode_width::UnicodeWidthChar as _;

/// Where the cursor is, and what may have to move to the next line.
#[derive(Debug, Default)]
pub(super) struct WordWrap {
    column: usize,
    /// The word that is being written, and how wide it is.
    word: String,
    word_width: usize,
}

/// In fewer columns than these nothing is wrapped by words.
const FEWEST_COLUMNS: usize = 10;
const TAB: usize = 8;

impl WordWrap {
    /// The piece with line breaks for a terminal of so many columns. A word that doesn't fit is taken back and written again on the next
    /// line. The piece must have no control characters but newlines and tabs.
    pub(super) fn wrap(&mut self, piece: &str, columns: usize) -> String {
        if columns < FEWEST_COLUMNS {
            return piece.to_owned();
        }
        // The last column stays free: there terminals differ in when the cursor goes to the next line.
        let last = columns - 1;
        let mut out = String::with_capacity(piece.len() + 16);
        for c in piece.chars() {
            let width = match c {
                '\n' => {
                    out.push('\n');
                    self.begin_line();
                    continue;
                }
                '\t' => TAB - self.column % TAB,
                c => c.width().unwrap_or_default(),
            };
            if self.column + width > last {
                if c == ' ' || c == '\t' {
                    out.push('\n');
                    self.begin_line();
                    continue;
                }
                self.break_line(&mut out);
            }
            out.push(c);
            self.column += width;
            if matches!(c, ' ' | '\t') || width >= 2 {
                self.word.clear();
                self.word_width = 0;
            } else {
                self.word.push(c);
                self.word_width += width;
            }
        }
        out
    }

    fn begin_line(&mut self) {
        *self = Self::default();
    }

    fn break_line(&mut self, out: &mut String) {
        if self.word_width > 0 && self.word_width < self.column {
            out.push_str(&format!("\u{1b}[{}D\u{1b}[K\n{}", self.word_width, self.word));
            self.column = self.word_width;
        } else {
            out.push('\n');
            self.begin_line();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal of so many columns shows of these pieces.
    fn shown(pieces: &[&str], columns: usize) -> Vec<String> {
        let mut wrap = WordWrap::default();
        let written: String = pieces.iter().map(|piece| wrap.wrap(piece, columns)).collect();
        let mut lines = vec![String::new()];
        let mut rest = written.as_str();
        while let Some(c) = rest.chars().next() {
            if let Some(back) = rest.strip_prefix("\u{1b}[") {
                let (count, behind) = back.split_once('D').unwrap();
                let line = lines.last_mut().unwrap();
                line.truncate(line.char_indices().rev().nth(count.parse::<usize>().unwrap() - 1).unwrap().0);
                rest = behind.strip_prefix("\u{1b}[K").unwrap();
                continue;
            }
            if c == '\n' {
                lines.push(String::new())
            } else {
                lines.last_mut().unwrap().push(c)
            }
            rest = &rest[c.len_utf8()..];
        }
        lines
    }

    #[test]
    fn words_stay_whole_however_they_come_in_pieces() {
        assert_eq!(shown(&["one two three four"], 12), ["one two ", "three four"]);
        assert_eq!(shown(&["one two th", "r", "ee four"], 12), ["one two ", "three four"]);
        assert_eq!(shown(&["one\ntwo three"], 12), ["one", "two three"]);
    }

    #[test]
    fn a_word_longer_than_a_line_is_cut_and_a_narrow_terminal_is_left_alone() {
        assert_eq!(shown(&["abcdefghijklmnop"], 11), ["abcdefghij", "klmnop"]);
        assert_eq!(shown(&["abcdefghijklmnop qr"], 4), ["abcdefghijklmnop qr"]);
    }

    #[test]
    fn wide_characters_break_anywhere_and_combining_ones_take_no_room() {
        assert_eq!(shown(&["東京東京東京東"], 11), ["東京東京東", "京東"]);
        assert_eq!(shown(&["e\u{301}e\u{301}e\u{301} abcdef"], 11), ["e\u{301}e\u{301}e\u{301} abcdef"]);
        assert_eq!(shown(&["🍄🍄🍄🍄🍄🍄"], 11), ["🍄🍄🍄🍄🍄", "🍄"]);
    }

    #[test]
    fn no_line_is_as_wide_as_the_terminal() {
        let text = "It is a long established fact that a reader will be distracted by the readable content of a page. ".repeat(5);
        for columns in 10..60 {
            for line in shown(&[&text], columns) {
                assert!(line.chars().count() < columns, "{columns}: {line:?}");
            }
        }
    }
}
