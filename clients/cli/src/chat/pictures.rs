//! Pictures that a prompt names by their paths, for models that see.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// What a file's name must end in to be looked for.
const ENDINGS: [&str; 4] = [".jpg", ".jpeg", ".png", ".webp"];
/// Of one picture; a request holds little more.
const MOST_BYTES: u64 = 30 << 20;

/// A prompt without the paths of its pictures, and the pictures.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pictured {
    pub(super) text: String,
    pub(super) pictures: Vec<(PathBuf, Vec<u8>)>,
}

/// Takes the paths of pictures out of a prompt and reads what they lead to. What looks like a path and leads nowhere is text.
pub(super) fn take_from(prompt: &str) -> Result<Pictured, String> {
    let (mut text, mut pictures) = (String::new(), Vec::new());
    let mut rest = prompt;
    while !rest.is_empty() {
        let starts = text.chars().next_back().is_none_or(|before| before.is_whitespace() || matches!(before, '\'' | '"' | '('));
        match path_at(rest).filter(|_| starts) {
            Some((length, path)) => {
                let read = read(&path).map_err(|error| format!("Couldn't process file: {}: {error}", path.display()))?;
                pictures.push((path, read));
                rest = &rest[length..];
                // Quotes around it were of the path.
                if let Some(quote) = text.chars().next_back().filter(|c| matches!(c, '\'' | '"') && rest.starts_with(*c)) {
                    text.pop();
                    rest = &rest[quote.len_utf8()..];
                }
            }
            None => {
                let Some(c) = rest.chars().next() else { break };
                text.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    if pictures.is_empty() {
        Ok(Pictured { text: prompt.to_owned(), pictures })
    } else {
        Ok(Pictured { text: text.trim().to_owned(), pictures })
    }
}

/// The path of a picture that is there, at the beginning of the text: how much of the text it is, and the path.
fn path_at(text: &str) -> Option<(usize, PathBuf)> {
    let drive =
        text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) && (text[1..].starts_with(":\\") || text[1..].starts_with(":/"));
    if !drive && !["/", "./", "../", "~/", "\\", ".\\"].iter().any(|start| text.starts_with(start)) {
        return None;
    }
    let line = text.lines().next().unwrap_or_default();
    let lower = line.to_ascii_lowercase();
    let mut ends: Vec<usize> =
        ENDINGS.iter().flat_map(|ending| lower.match_indices(ending).map(|(at, _)| at + ending.len()).collect::<Vec<_>>()).collect();
    ends.sort_unstable();
    ends.into_iter()
        .filter(|end| !line[*end..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        .flat_map(|end| [line[..end].to_owned(), unescaped(&line[..end])].map(|path| (end, from_home(path))))
        .find(|(_, path)| path.is_file())
}

/// As shells and file managers write a path into a terminal: with a backslash before what is special.
fn unescaped(path: &str) -> String {
    if cfg!(windows) {
        return path.to_owned();
    }
    let mut out = String::with_capacity(path.len());
    let mut characters = path.chars();
    while let Some(c) = characters.next() {
        out.push(if c == '\\' { characters.next().unwrap_or(c) } else { c });
    }
    out
}

fn from_home(path: String) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it is larger than {} MiB", MOST_BYTES >> 20)));
    }
    let known = bytes.starts_with(b"\x89PNG\r\n\x1a\n")
        || bytes.starts_with(b"\xff\xd8\xff")
        || (bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"));
    if known { Ok(bytes) } else { Err(io::Error::other("it is no PNG, JPEG or WebP")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nand so on";

    #[test]
    fn paths_of_pictures_are_taken_out_of_the_prompt_however_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for name in ["cat.png", "my cat (1).PNG", "a.jpg.png"] {
            fs::write(at(name), PNG).unwrap();
        }
        let escaped = at("my cat (1).PNG").replace(' ', "\\ ").replace('(', "\\(").replace(')', "\\)");
        let rows = [
            (format!("what is {}?", at("cat.png")), "what is ?", vec![at("cat.png")]),
            (format!("{} what is it", at("cat.png")), "what is it", vec![at("cat.png")]),
            (format!("what is '{}'", at("my cat (1).PNG")), "what is", vec![at("my cat (1).PNG")]),
            (format!("what is \"{}\"?", at("my cat (1).PNG")), "what is ?", vec![at("my cat (1).PNG")]),
            (format!("what is {escaped} here"), "what is  here", vec![at("my cat (1).PNG")]),
            (format!("{} and {}", at("cat.png"), at("a.jpg.png")), "and", vec![at("cat.png"), at("a.jpg.png")]),
        ];
        for (prompt, text, paths) in rows {
            let taken = take_from(&prompt).unwrap();
            let found: Vec<String> = taken.pictures.iter().map(|(path, _)| path.to_str().unwrap().to_owned()).collect();
            assert_eq!((taken.text.as_str(), found), (text, paths), "{prompt}");
            assert!(taken.pictures.iter().all(|(_, bytes)| bytes == PNG));
        }
        for text in
            ["no picture  at all ".to_owned(), at("nowhere.png"), "/cat.png".to_owned(), format!("x{}", at("cat.png")), "é".to_owned()]
        {
            assert_eq!(take_from(&text).unwrap(), Pictured { text: text.clone(), pictures: Vec::new() });
        }
    }

    #[test]
    fn what_is_named_like_a_picture_and_is_none_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fake.png");
        fs::write(&path, "text").unwrap();
        let said = take_from(path.to_str().unwrap()).unwrap_err();
        assert!(said.starts_with("Couldn't process file: ") && said.contains("no PNG, JPEG or WebP"), "{said}");
    }
}
