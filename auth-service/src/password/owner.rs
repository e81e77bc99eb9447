//! What a password may not be made of: the names of the user and of the product, and the words that stand for a password.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::MIN_CHARACTERS;
use super::blocklist::is_common;
use crate::user::UserRecord;

/// Whose password it is to be. What isn't known, or isn't good yet, is empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Owner<'a> {
    /// The user's name.
    pub user_name: &'a str,
    /// The e-mail address.
    pub email: &'a str,
    /// The name in full.
    pub full_name: &'a str,
}

impl<'a> From<&'a UserRecord> for Owner<'a> {
    fn from(user: &'a UserRecord) -> Self {
        Self { user_name: user.user_name.as_str(), email: &user.email, full_name: &user.full_name }
    }
}

/// The product, and what it stands in front of.
const PRODUCT: [&str; 2] = ["tollgate", "ollama"];
/// What people write where they are asked for a password.
const COMMONPLACE: [&str; 15] = [
    "password",
    "passwort",
    "passwd",
    "passphrase",
    "administrator",
    "admin",
    "letmein",
    "changeme",
    "welcome",
    "login",
    "secret",
    "qwerty",
    "qwertz",
    "azerty",
    "iloveyou",
];
/// The fewest letters of a word: shorter ones stand in every long text.
const SHORTEST_WORD: usize = 3;
/// So many letters must be left when the words are taken away: what NIST asks of a password that has something else beside it.
const LETTERS_LEFT: usize = 8;
/// The most words of one owner. More are looked for in nobody's password.
const MOST_WORDS: usize = 32;

/// What a password is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MadeOf {
    /// The names of its owner or of the product.
    Names,
    /// Words that stand for a password.
    Commonplaces,
}

/// What a folded password is made of, when too little is left without it: neither [`LETTERS_LEFT`] letters nor [`MIN_CHARACTERS`]
/// characters, or a common password. Digits and punctuation count little: they are the first that attackers add.
///
/// Words are found forwards and backwards, with other marks on their letters, with digits and signs in place of letters (`0` for `o`, `$`
/// for `s`), and with what stands between their letters.
pub(super) fn made_of_words(folded: &str, owner: &Owner<'_>) -> Option<MadeOf> {
    let names = names_of(owner);
    Reading::ALL.into_iter().find_map(|reading| {
        let names = || names.iter().copied().chain(PRODUCT);
        let left = Words::of(names().chain(COMMONPLACE), reading).taken_from(folded, reading)?;
        let letters = left.chars().filter(|c| c.is_alphabetic()).count();
        let is_enough = letters >= LETTERS_LEFT || left.chars().count() >= MIN_CHARACTERS;
        if is_enough && !is_common(&left) {
            return None;
        }
        let with_names = Words::of(names(), reading).taken_from(folded, reading).is_some();
        Some(if with_names { MadeOf::Names } else { MadeOf::Commonplaces })
    })
}

/// The names of an owner, whole and in parts.
fn names_of<'a>(owner: &Owner<'a>) -> Vec<&'a str> {
    fn parts(text: &str) -> impl Iterator<Item = &str> {
        text.split(|c: char| !c.is_alphanumeric())
    }
    let (local, host) = owner.email.split_once('@').unwrap_or((owner.email, ""));
    // The last part of a host's name, such as `com`, is nobody's.
    let labels = host.rsplit_once('.').map_or(host, |(labels, _)| labels);
    let whole = [owner.user_name, local, owner.full_name];
    let in_parts = whole.into_iter().chain([labels]).flat_map(parts);
    whole.into_iter().chain(in_parts).take(MOST_WORDS).collect()
}

/// How a text is read before words are looked for in it: what the characters that aren't letters stand for depends on who wrote it.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// Digits and signs stand for letters.
    SignsAreLetters,
    /// Digits stand for letters, signs for nothing.
    DigitsAreLetters,
    /// Neither stands for anything.
    LettersAlone,
}

impl Reading {
    const ALL: [Self; 3] = [Self::SignsAreLetters, Self::DigitsAreLetters, Self::LettersAlone];

    /// The letters that a character stands for, without their marks; `i` and `l` are one letter, as `1` stands for both.
    fn letters(self, c: char) -> impl Iterator<Item = char> {
        let plain = c.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase);
        plain.filter_map(move |c| match c {
            'l' => Some('i'),
            c if c.is_alphabetic() => Some(c),
            c if c.is_ascii_digit() => (!matches!(self, Self::LettersAlone)).then(|| of_digit(c)),
            c => matches!(self, Self::SignsAreLetters).then(|| of_sign(c)).flatten(),
        })
    }
}

/// The letter that a digit looks like; a digit that looks like none stands for itself.
fn of_digit(digit: char) -> char {
    match digit {
        '0' => 'o',
        '1' => 'i',
        '3' => 'e',
        '4' => 'a',
        '5' => 's',
        '6' | '9' => 'g',
        '7' => 't',
        '8' => 'b',
        other => other,
    }
}

fn of_sign(sign: char) -> Option<char> {
    match sign {
        '@' => Some('a'),
        '$' => Some('s'),
        '!' | '|' => Some('i'),
        '+' => Some('t'),
        '(' => Some('c'),
        '€' => Some('e'),
        _ => None,
    }
}

/// Words in one reading, forwards and backwards, the longest first.
struct Words(Vec<Vec<char>>);

impl Words {
    fn of<'a>(words: impl Iterator<Item = &'a str>, reading: Reading) -> Self {
        let forwards = words.map(|word| word.chars().flat_map(|c| reading.letters(c)).collect::<Vec<_>>());
        let mut all: Vec<Vec<char>> =
            forwards.filter(|word| word.len() >= SHORTEST_WORD).flat_map(|word| [word.iter().rev().copied().collect(), word]).collect();
        all.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        all.dedup();
        Self(all)
    }

    /// What is left of a text without the words, from its start on the longest first; `None` when it has none of them.
    fn taken_from(&self, text: &str, reading: Reading) -> Option<String> {
        let characters: Vec<char> = text.chars().collect();
        // Each letter that is read, and the place of the character that stands for it.
        let read: Vec<(char, usize)> =
            characters.iter().enumerate().flat_map(|(place, c)| reading.letters(*c).map(move |letter| (letter, place))).collect();
        let mut taken = vec![false; characters.len()];
        let mut from = 0;
        while from < read.len() {
            let rest = &read[from..];
            let is_here = |word: &&Vec<char>| word.len() <= rest.len() && word.iter().zip(rest).all(|(one, (other, _))| one == other);
            match self.0.iter().find(is_here) {
                Some(word) => {
                    rest[..word.len()].iter().for_each(|(_, place)| taken[*place] = true);
                    from += word.len();
                }
                None => from += 1,
            }
        }
        let left = || characters.iter().zip(&taken).filter(|(_, taken)| !**taken).map(|(c, _)| *c).collect();
        taken.contains(&true).then(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARIO: Owner<'_> =
        Owner { user_name: "mario85", email: "super.mario+games@mushroom-kingdom.example.com", full_name: "Mario Jumpmän" };

    #[test]
    fn a_password_is_not_made_of_user_name_full_name_email_or_product_name() {
        let refused = [
            // As they are, repeated, and cut.
            "mario85mario85mario85",
            "mariomariomario",
            "mariomariomariom",
            "mario@mario@mario",
            "super.mario+games@mushroom-kingdom.example.com",
            "tollgatetollgate",
            "ollamaollamaollama",
            "ollamatollgate1",
            // Put together.
            "mario-tollgate-2026",
            "mushroomkingdom!!",
            "supermariogames",
            "mario jumpman mario",
            "tollgate password!",
            "welcome mario85!!!",
            // Mixed case is folded before. Digits and punctuation around, and between.
            "mario1234567890",
            "1985-07-13-mario",
            "mario19850713!!!",
            "!!!!!!tollgate!!!!!!",
            "m.a.r.i.o.8.5.2.0.2.6",
            "m-a-r-i-o---0815",
            "t1o2l3l4g5a6t7e8",
            "t o l l g a t e 1",
            "m!a!r!i!o!m!a!r!i!o",
            // Backwards, and in a mirror.
            "oiramoiramoiram",
            "etagllotetagllot",
            "mariooiram12345",
            "amallo-etagllot",
            // With digits and signs for letters.
            "m4r10m4r10m4r10",
            "t0llg4t3t0llg4t3",
            "to11gate_to11gate",
            "0ll@m@0ll@m@2026",
            "t0||g@+e-t0||g@+e",
            "$uper_m@rio_2026!",
            // With other marks, and in other forms of the letters.
            "m\u{e4}ri\u{f6}-jump-m\u{e1}n-85",
            "ｍａｒｉｏｍａｒｉｏｍａｒｉｏ",
            // What is left is a common password by itself.
            "mario1qaz2wsx3edc4rfv",
            "tollgate123456789012345",
            "mario11111111111111111",
            "mario basketball",
        ];
        for password in refused {
            let folded = password.to_lowercase();
            assert!(made_of_words(&folded, &MARIO).is_some() || is_common(&folded), "{password}");
        }
        assert_eq!(made_of_words("mario1234567890", &MARIO), Some(MadeOf::Names));
        assert_eq!(made_of_words("tollgate-1234567", &MARIO), Some(MadeOf::Names));
    }

    #[test]
    fn a_long_passphrase_may_contain_a_name() {
        for good in [
            "my name is mario!!",
            "mario likes fast karts",
            "the tollgate is closed on sundays",
            "an ollama in the andes",
            "mario8302917465023817",
            "tollgate-f81d4fae7dec11d0a765",
            "it is me, the plumber",
            "a mushroom a day keeps bowser away",
            "welcome to the jungle",
            "four random words here",
            "correct mushroom battery staple",
            "d2f7a1ce-93b0-4b7e-8d55-0c1f6e",
            "おはようございます、きのこさん、さようなら",
        ] {
            assert_eq!(made_of_words(&good.to_lowercase(), &MARIO), None, "{good}");
        }
    }

    #[test]
    fn what_stands_for_a_password_is_a_commonplace_whoever_uses_it() {
        for commonplace in ["adminadmin12345", "welcome2password!", "p@ssw0rd-p@ssw0rd-1", "qwertyqwerty123", "letmein letmein 1"] {
            assert_eq!(made_of_words(commonplace, &Owner::default()), Some(MadeOf::Commonplaces), "{commonplace}");
        }
    }

    #[test]
    fn names_of_less_than_three_letters_and_of_nobody_take_nothing_away() {
        let short = Owner { user_name: "a-b", email: "x@y.example", full_name: "Bo Li" };
        assert_eq!(made_of_words("ab xy 1234567 ab xy", &short), None);
        assert_eq!(made_of_words("mariomario12345", &Owner::default()), None);
        let common_host = Owner { user_name: "luigi", email: "luigi@mail.com", full_name: "" };
        assert_eq!(made_of_words("computer in a basement", &common_host), None);
    }

    #[test]
    fn the_longest_password_and_the_longest_names_are_compared_at_once() {
        let (name, email) = ("a-".repeat(32), format!("{}@{}com", "ab.".repeat(21), "abc.".repeat(46)));
        let owner = Owner { user_name: &name, email: &email, full_name: &"abc ".repeat(50) };
        assert!(names_of(&owner).len() <= MOST_WORDS);
        let started = std::time::Instant::now();
        let _ = made_of_words(&"ab".repeat(512), &owner);
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
    }
}
