//! Credentials that are found where they don't belong: any bytes are searched, and what is ours by its form is revoked.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::poll_fn;
use memchr::memmem;
use serde_json::{Value, json};
use shared::credential_form::{
    API_KEY_LENGTH, API_KEY_PREFIX, INVITATION_LENGTH, INVITATION_PREFIX, REFRESH_TOKEN_LENGTH, REFRESH_TOKEN_PREFIX, is_api_key,
    is_invitation, is_refresh_token,
};
use tokio::sync::mpsc::{self, Sender};
use tollgate_client::proto::auth::RevokeCredentialResponse;
use tollgate_client::proto::auth::revoke_credential_response::Result as Outcome;
use tollgate_client::{Client, Error};

use crate::credential_text::shown;
use crate::display::json_text;
use crate::failure::Failure;
use crate::output::{Output, hint};

const CHUNK_BYTES: usize = 256 << 10;
/// Calls at once.
const AT_ONCE: usize = 8;
/// Credentials that are known to have been found before. Beyond them one is revoked again, which changes nothing.
const MOST_KNOWN: usize = 100_000;
/// How often a call is made that the server wants later.
const TRIES: usize = 5;
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Revokes every API key, refresh token and invitation in a file; `-` is standard input.
pub(crate) async fn revoke(client: &Client, path: &Path, output: &mut Output) -> Result<(), Failure> {
    let (found, mut taken) = mpsc::channel(AT_ONCE);
    let read_from = path.to_owned();
    // Standard input blocks. When the other end is dropped, the next find ends the search.
    let searching = tokio::task::spawn_blocking(move || search(&read_from, &found));
    // Once the service is away, it will be no better with the next one. What is found is still told.
    let away = &OnceLock::new();
    let calls = poll_fn(move |cx| taken.poll_recv(cx)).map(|credential: String| async move {
        let outcome = match away.get() {
            Some(error) => Err(Error::clone(error)),
            None => revoke_one(client, &credential).await,
        };
        if let Err(error @ Error::Unreachable { .. }) = &outcome {
            away.get_or_init(|| error.clone());
        }
        (shown(&credential), outcome)
    });
    let mut outcomes = std::pin::pin!(calls.buffered(AT_ONCE));
    let (mut revoked, mut unknown, mut failed) = (0, 0, Vec::new());
    while let Some((shown, outcome)) = outcomes.next().await {
        match outcome {
            Ok(answer) if answer.result() == Outcome::Revoked => {
                revoked += 1;
                let said = format!("{shown} is revoked{}", of_what(&answer));
                output.said(&said, record(&shown, "revoked", Some(&answer), None))?;
            }
            Ok(_) => {
                unknown += 1;
                let said = format!("{shown} is unknown: it is of another server, or no longer in force");
                output.said(&said, record(&shown, "unknown", None, None))?;
            }
            Err(error) => {
                if output.is_json() {
                    output.document(&record(&shown, "failed", None, Some(&error)))?;
                } else {
                    hint(&format!("{shown} is NOT revoked: {error}"));
                }
                failed.push(error);
            }
        }
    }
    let searched = searching.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
    hint(&format!("{} found: {revoked} revoked, {unknown} unknown, {} failed", revoked + unknown + failed.len(), failed.len()));
    searched.map_err(|source| Failure::Io { what: format!("{} can't be read to its end", path.display()), source })?;
    failed.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
}

async fn revoke_one(client: &Client, credential: &str) -> Result<RevokeCredentialResponse, Error> {
    for _ in 1..TRIES {
        match client.revoke_credential(credential).await {
            Err(error) => match error.retry_delay() {
                Some(delay) => tokio::time::sleep(delay.min(LONGEST_WAIT)).await,
                None => return Err(error),
            },
            answered => return answered,
        }
    }
    client.revoke_credential(credential).await
}

/// What became of a credential.
fn record(shown: &str, result: &str, answer: Option<&RevokeCredentialResponse>, error: Option<&Error>) -> Value {
    let (key, session) = answer.map_or(("", ""), |answer| (answer.api_key_id.as_str(), answer.session_id.as_str()));
    json!({
        "credential": shown,
        "result": result,
        "apiKeyId": json_text(key),
        "sessionId": json_text(session),
        "error": error.map(ToString::to_string),
    })
}

fn of_what(answer: &RevokeCredentialResponse) -> String {
    match (answer.api_key_id.as_str(), answer.session_id.as_str()) {
        ("", "") => String::new(),
        ("", session) => format!(" (session {session})"),
        (key, _) => format!(" (key {key})"),
    }
}

/// Sends on what is found, each once.
fn search(path: &Path, found: &Sender<String>) -> io::Result<()> {
    if path == Path::new("-") { search_in(io::stdin().lock(), found) } else { search_in(File::open(path)?, found) }
}

fn search_in(mut input: impl Read, found: &Sender<String>) -> io::Result<()> {
    let mut known = HashSet::new();
    let mut scanner = Scanner::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match input.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        for credential in scanner.take(&chunk[..read]) {
            let is_new = if known.len() < MOST_KNOWN { known.insert(credential.clone()) } else { !known.contains(&credential) };
            if is_new && found.blocking_send(credential).is_err() {
                return Ok(());
            }
        }
        if read == 0 {
            return Ok(());
        }
    }
}

/// Whether an API key, a refresh token or an invitation of ours stands in this text.
pub(crate) fn holds_a_credential(text: &str) -> bool {
    let mut scanner = Scanner::default();
    !scanner.take(text.as_bytes()).is_empty() || !scanner.take(&[]).is_empty()
}

/// Finds credentials in bytes that come in pieces, wherever the pieces end, whatever stands around a credential, and whether it is broken
/// over lines: the checksum tells a credential from its surroundings, and nothing else is asked of them.
#[derive(Debug, Default)]
struct Scanner {
    /// What may be the beginning of a credential: shorter than the longest one.
    rest: Vec<u8>,
}

/// What bytes that begin like a credential are.
enum Find<'a> {
    Credential(&'a str),
    Nothing,
    /// The next bytes tell.
    Undecided,
}

type HasForm = fn(&str) -> bool;
const FORMS: [(&str, usize, HasForm); 3] = [
    (API_KEY_PREFIX, API_KEY_LENGTH, is_api_key),
    (REFRESH_TOKEN_PREFIX, REFRESH_TOKEN_LENGTH, is_refresh_token),
    (INVITATION_PREFIX, INVITATION_LENGTH, is_invitation),
];
/// What all of them begin with.
const BEGINNING: &[u8] = b"tg";

impl Scanner {
    /// The credentials that end in these bytes; no bytes are the end of the text.
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let is_end = bytes.is_empty();
        self.rest.extend(bytes.iter().filter(|byte| !stands_between_letters(**byte)));
        let (mut found, mut at) = (Vec::new(), 0);
        let kept_from = loop {
            let Some(begins) = memmem::find(&self.rest[at..], BEGINNING).map(|offset| at + offset) else {
                // The last byte may be the first half of a beginning.
                break if is_end { self.rest.len() } else { self.rest.len().saturating_sub(1).max(at) };
            };
            match find(&self.rest[begins..], is_end) {
                Find::Credential(text) => {
                    at = begins + text.len();
                    found.push(text.to_owned());
                }
                Find::Nothing => at = begins + BEGINNING.len(),
                Find::Undecided => break begins,
            }
        };
        self.rest.drain(..kept_from);
        found
    }
}

/// What may stand between any two letters of a credential. UTF-16 has a zero beside each. Mail and terminals break long lines, and may
/// indent what follows; mail in quoted-printable puts an equals sign at the break.
fn stands_between_letters(byte: u8) -> bool {
    byte == 0 || byte == b'=' || byte.is_ascii_whitespace()
}

/// What stands at the beginning of these bytes.
fn find(bytes: &[u8], is_end: bool) -> Find<'_> {
    for (prefix, length, has_form) in FORMS {
        let head = &bytes[..length.min(bytes.len())];
        if head.len() == length {
            match std::str::from_utf8(head) {
                Ok(text) if has_form(text) => return Find::Credential(text),
                _ => continue,
            }
        }
        let (start, digits) = head.split_at(prefix.len().min(head.len()));
        if !is_end && prefix.as_bytes().starts_with(start) && digits.iter().all(u8::is_ascii_alphanumeric) {
            return Find::Undecided;
        }
    }
    Find::Nothing
}

#[cfg(test)]
mod tests {
    use shared::credential_form::checksum;

    use super::*;

    fn credential(prefix: &str, length: usize, seed: &str) -> String {
        let mut text = format!("{prefix}{}", seed.repeat(length));
        text.truncate(length - 6);
        text.extend(checksum(&text).map(char::from));
        text
    }

    fn key(seed: &str) -> String {
        credential(API_KEY_PREFIX, API_KEY_LENGTH, seed)
    }

    fn token(seed: &str) -> String {
        credential(REFRESH_TOKEN_PREFIX, REFRESH_TOKEN_LENGTH, seed)
    }

    fn invitation(seed: &str) -> String {
        credential(INVITATION_PREFIX, INVITATION_LENGTH, seed)
    }

    /// What is found in a text that comes in pieces of so many bytes.
    fn found(text: &[u8], piece: usize) -> Vec<String> {
        let mut scanner = Scanner::default();
        let mut all: Vec<String> = text.chunks(piece).flat_map(|piece| scanner.take(piece)).collect();
        all.extend(scanner.take(b""));
        assert!(scanner.rest.is_empty());
        all
    }

    #[test]
    fn every_credential_of_a_text_is_found_wherever_its_pieces_end() {
        let (one, two, three, four) = (key("a1B2"), token("Zz9"), key("tg"), invitation("iI"));
        let text = format!("t tg tg_ tgr_ tgi_ {one}\n{two}{three}{four}tg_{one}tgr_{}…tg", &one[3..]);
        for piece in 1..=text.len() {
            assert_eq!(found(text.as_bytes(), piece), [&one, &two, &three, &four, &one].map(String::clone), "pieces of {piece}");
        }
    }

    #[test]
    fn what_stands_around_a_credential_does_not_hide_it() {
        let (key, token, invitation) = (key("Q7"), token("x"), invitation("Y8"));
        for secret in [&key, &token, &invitation] {
            for (before, after) in [
                ("", ""),
                ("xyz", "0123456789"),
                ("tg_", "tg_"),
                ("tgr_tg", "_"),
                ("\u{fffd}é", "é"),
                ("key=", "&x=1"),
                ("tgtgtg", "tg"),
                ("A".repeat(200).as_str(), "Z"),
            ] {
                let text = format!("{before}{secret}{after}");
                assert_eq!(found(text.as_bytes(), 7), std::slice::from_ref(secret), "{before:?} {after:?}");
            }
            let binary: Vec<u8> = [&[0xff, 0xfe, 0x80, b't', b'g', 0x01][..], secret.as_bytes(), &[0xc3, 0x28]].concat();
            assert_eq!(found(&binary, 3), std::slice::from_ref(secret));
            for unit in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes] {
                let text: Vec<u8> = format!("\u{feff}key: {secret}\r\n").encode_utf16().flat_map(unit).collect();
                assert_eq!(found(&text, 5), std::slice::from_ref(secret), "UTF-16");
            }
        }
    }

    #[test]
    fn a_credential_that_is_broken_over_lines_is_found() {
        for secret in [key("b4K"), token("nO"), invitation("L1")] {
            for line_break in ["\n", "\r\n", "=\r\n", "\n        ", "\n\t"] {
                for broken_at in 1..secret.len() {
                    let (head, tail) = secret.split_at(broken_at);
                    let text = format!("tg {head}{line_break}{tail} tg{line_break}");
                    assert_eq!(found(text.as_bytes(), 5), std::slice::from_ref(&secret), "{text:?}");
                }
            }
            let narrow = secret.as_bytes().chunks(10).map(|line| [line, b"\n"].concat()).collect::<Vec<_>>().concat();
            assert_eq!(found(&narrow, 3), std::slice::from_ref(&secret));
        }
    }

    #[test]
    fn what_is_mistyped_or_cut_is_none_of_ours() {
        let (key, token) = (key("k3Y"), token("tok"));
        for text in [
            key[..48].to_owned(),
            token[..81].to_owned(),
            key.replacen('3', "4", 1),
            token.replacen('k', "l", 1),
            key.replace("tg_", "tgr_"),
            key.replace("tg_", "tgi_"),
            token.replace("tgr_", "tg_"),
            key.to_uppercase(),
            format!("{}-{}", &key[..20], &key[20..]),
        ] {
            assert_eq!(found(text.as_bytes(), 1024), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn what_is_kept_between_pieces_is_shorter_than_a_credential() {
        let mut scanner = Scanner::default();
        for piece in
            [&b"tg_"[..], &[b'a'; 1 << 16], b"tgr_", &[b'b'; 1 << 16], &[0; 1 << 16], &b"tg".repeat(1 << 15), &b"tg_".repeat(1 << 14)]
        {
            assert!(scanner.take(piece).is_empty());
            assert!(scanner.rest.len() < REFRESH_TOKEN_LENGTH, "{}", scanner.rest.len());
        }
    }

    #[test]
    fn a_credential_that_is_found_often_is_sent_on_once() {
        let (one, two) = (key("1"), token("2"));
        let (sender, mut receiver) = mpsc::channel(10);
        search_in(format!("{one} {two} {one}").repeat(1000).as_bytes(), &sender).unwrap();
        drop(sender);
        let mut all = Vec::new();
        while let Ok(credential) = receiver.try_recv() {
            all.push(credential);
        }
        assert_eq!(all, [one, two]);
    }
}
