//! The list of issuers that people sign in with. All that is wrong with it is said at once, and no value that may be a secret is repeated.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use openidconnect::ClientSecret;
use reqwest::Url;
use serde_json::{Map, Value};
use shared::env::Reader;

use crate::foreign_issuer::speaks_tls_or_stays_here;

/// The variable that has the list.
const VARIABLE: &str = "TOLLGATE_OIDC_ISSUERS";
/// Issuers that may be listed.
const MOST_ISSUERS: usize = 20;
/// Characters of a client's id or secret, or of an issuer.
const MOST_CHARACTERS: usize = 1024;
/// Characters of a name.
const MOST_OF_NAME: usize = 32;
/// What a file may hold, in bytes: a wrong path may name anything.
const MOST_BYTES: u64 = 1 << 20;
/// What an entry may have.
const FIELDS: [&str; 6] = ["name", "issuer", "client_id", "client_secret", "client_secret_file", "scopes"];
/// What is asked for, unless said otherwise. `openid` always is.
const SCOPES: [&str; 3] = ["openid", "profile", "email"];

/// An issuer that people sign in with.
#[derive(Debug, Clone)]
pub struct SignInIssuerConfig {
    /// What it is called here.
    pub name: String,
    /// Its identifier, to the letter.
    pub issuer: String,
    /// What we are called there.
    pub client_id: String,
    /// What proves that to it. `None`: a public client, by PKCE alone.
    pub client_secret: Option<ClientSecret>,
    /// What is asked for.
    pub scopes: Vec<String>,
}

/// Reads the variable: a file's path, or the JSON itself where it begins with `[` or `{`.
pub fn read_sign_in_issuers(reader: &mut Reader<'_>) -> Vec<SignInIssuerConfig> {
    let Some(value) = reader.string(VARIABLE) else { return Vec::new() };
    let is_json = value.trim_start().starts_with(['[', '{']);
    // JSON that is written wrong may hold a secret: nothing of it is repeated.
    if !is_json && value.contains(['{', '"', '\n', '\r']) {
        let what = "is neither JSON nor a file's path: JSON begins with [ or {, without quotes around it";
        reader.mistake(VARIABLE, what.to_owned());
        return Vec::new();
    }
    let (place, read) = if is_json {
        ("has".to_owned(), parse(&value, Path::new(".")))
    } else {
        let path = Path::new(&value);
        let folder = path.parent().unwrap_or(Path::new("."));
        let text = read_file(path).map_err(|why| vec![format!("which {why}")]);
        (format!("names {value:?},"), text.and_then(|text| parse(&text, folder)))
    };
    match read {
        Ok(issuers) => issuers,
        Err(mistakes) => {
            for mistake in mistakes {
                reader.mistake(VARIABLE, format!("{place} {mistake}"));
            }
            Vec::new()
        }
    }
}

/// Each mistake goes on from "names a file," or "has".
fn parse(text: &str, folder: &Path) -> Result<Vec<SignInIssuerConfig>, Vec<String>> {
    let entries = match serde_json::from_str(text) {
        Ok(Value::Array(entries)) => entries,
        Ok(Value::Object(mut object)) => match object.remove("issuers") {
            Some(Value::Array(entries)) if object.is_empty() => entries,
            Some(_) => return Err(vec!["an object whose one field issuers is a list".to_owned()]),
            None => vec![Value::Object(object)],
        },
        // What is there is not repeated: it may be a part of a secret.
        Ok(_) => return Err(vec!["no list of issuers".to_owned()]),
        Err(error) => return Err(vec![format!("no JSON: line {}, column {} is wrong", error.line(), error.column())]),
    };
    let mut mistakes = Vec::new();
    if entries.len() > MOST_ISSUERS {
        mistakes.push(format!("more than {MOST_ISSUERS} issuers"));
    }
    let (mut names, mut clients, mut issuers) = (HashSet::new(), HashSet::new(), Vec::new());
    for (place, entry) in entries.iter().take(MOST_ISSUERS).enumerate() {
        let mut found = Entry { place: place + 1, fields: entry.as_object(), mistakes: &mut mistakes };
        let Some(issuer) = found.read(folder) else { continue };
        if !names.insert(issuer.name.clone()) {
            found.mistake(format!("has the name {:?}, which another one has", issuer.name));
        } else if !clients.insert((issuer.issuer.clone(), issuer.client_id.clone())) {
            found.mistake("has the issuer and client_id of another one".to_owned());
        } else {
            issuers.push(issuer);
        }
    }
    if mistakes.is_empty() { Ok(issuers) } else { Err(mistakes) }
}

struct Entry<'e> {
    place: usize,
    fields: Option<&'e Map<String, Value>>,
    mistakes: &'e mut Vec<String>,
}

impl Entry<'_> {
    fn mistake(&mut self, why: String) {
        self.mistakes.push(format!("an issuer (entry {}) that {why}", self.place));
    }

    fn read(&mut self, folder: &Path) -> Option<SignInIssuerConfig> {
        let Some(fields) = self.fields else {
            self.mistake("is no object".to_owned());
            return None;
        };
        for unknown in fields.keys().filter(|field| !FIELDS.contains(&field.as_str())) {
            // A field's name may be a secret in the wrong place.
            let known = FIELDS.join(", ");
            let shown: String = unknown.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(20).collect();
            self.mistake(format!("has a field {shown:?}; there are {known}"));
        }
        let name = self.text("name", is_name, "1 to 32 of a-z, 0-9, - and _");
        let issuer = self.text("issuer", is_issuer, "a URL of https (http only on this host), without a query, a fragment or a user");
        let client_id = self.text("client_id", is_line, "1 to 1024 characters without controls");
        let client_secret = self.secret(folder);
        let scopes = self.scopes();
        let (name, issuer, client_id) = (name?, issuer?, client_id?);
        Some(SignInIssuerConfig { name, issuer, client_id, client_secret: client_secret?.map(ClientSecret::new), scopes: scopes? })
    }

    fn text(&mut self, field: &str, is_right: impl Fn(&str) -> bool, expected: &str) -> Option<String> {
        let value = self.fields.and_then(|fields| fields.get(field)).and_then(Value::as_str);
        match value.filter(|text| is_right(text)) {
            Some(text) => Some(text.to_owned()),
            None => {
                self.mistake(format!("must have as {field} {expected}"));
                None
            }
        }
    }

    /// `None`: it is wrong.
    fn secret(&mut self, folder: &Path) -> Option<Option<String>> {
        let fields = self.fields?;
        let read = match (fields.get("client_secret"), fields.get("client_secret_file")) {
            (None, None) => return Some(None),
            (Some(_), Some(_)) => Err("must have client_secret or client_secret_file, and not both".to_owned()),
            (Some(secret), None) => secret.as_str().map(str::to_owned).ok_or("must have a text as client_secret".to_owned()),
            (None, Some(path)) => match path.as_str() {
                Some(path) => read_file(&folder.join(path))
                    .map(|text| text.trim_end_matches(['\n', '\r']).to_owned())
                    .map_err(|why| format!("has a client_secret_file {path:?}, which {why}")),
                None => Err("must have a path as client_secret_file".to_owned()),
            },
        };
        let is_right = |secret: &String| is_line(secret);
        match read.and_then(|secret| {
            if is_right(&secret) { Ok(secret) } else { Err("has a client secret that is empty, too long, or more than a line".to_owned()) }
        }) {
            Ok(secret) => Some(Some(secret)),
            Err(why) => {
                self.mistake(why);
                None
            }
        }
    }

    fn scopes(&mut self) -> Option<Vec<String>> {
        let Some(value) = self.fields?.get("scopes") else { return Some(SCOPES.map(str::to_owned).to_vec()) };
        let texts =
            value.as_array().and_then(|list| list.iter().map(|scope| scope.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>());
        let is_scope = |scope: &String| {
            let is_token = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
            (1..=128).contains(&scope.len()) && scope.bytes().all(is_token)
        };
        match texts.filter(|texts| texts.len() <= 20 && texts.iter().all(is_scope)) {
            Some(texts) => {
                let others = texts.into_iter().filter(|scope| scope != SCOPES[0]);
                Some(std::iter::once(SCOPES[0].to_owned()).chain(others).collect())
            }
            None => {
                self.mistake("must have as scopes a list of at most 20 words".to_owned());
                None
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=MOST_OF_NAME).contains(&text.len()) && text.bytes().all(valid)
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MOST_CHARACTERS && !text.chars().any(char::is_control)
}

fn is_issuer(text: &str) -> bool {
    let is_bare = |url: &Url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    is_line(text)
        && !text.contains(char::is_whitespace)
        && Url::parse(text).is_ok_and(|url| speaks_tls_or_stays_here(&url) && is_bare(&url))
}

fn read_file(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("can't be read ({error})"))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("holds more than {MOST_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not text in UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use shared::env::Mistakes;

    use super::*;

    fn read(value: &str) -> Result<Vec<SignInIssuerConfig>, Vec<String>> {
        let strings = BTreeMap::from([(VARIABLE.to_owned(), value.to_owned())]);
        let mut reader = Reader::new(&strings);
        let issuers = read_sign_in_issuers(&mut reader);
        reader.finish(issuers).map_err(|Mistakes(mistakes)| mistakes)
    }

    fn entry() -> Value {
        json!({ "name": "google", "issuer": "https://accounts.google.com", "client_id": "tollgate" })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut entry = entry();
        entry[field] = value;
        entry
    }

    #[test]
    fn json_that_is_written_wrong_is_not_repeated_for_it_may_hold_a_secret() {
        let secret = json!([with("client_secret", json!("GOCSPX-canary"))]).to_string();
        for wrong in [format!("'{secret}'"), format!("\u{feff}{secret}"), format!("x={secret}"), secret.replace(['[', '{'], "")] {
            let mistakes = read(&wrong).unwrap_err().concat();
            assert!(mistakes.contains("neither JSON nor a file's path") && !mistakes.contains("canary"), "{mistakes}");
        }
    }

    #[test]
    fn issuers_are_listed_in_the_variable_or_in_a_file_and_their_secrets_in_files_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "s3cret of google\n").unwrap();
        let path = folder.path().join("issuers.json");
        let text = json!([with("client_secret_file", json!("secret"))]).to_string();
        std::fs::write(&path, &text).unwrap();
        let [one] = <[SignInIssuerConfig; 1]>::try_from(read(path.to_str().unwrap()).unwrap()).unwrap();
        assert_eq!(one.client_secret.as_ref().unwrap().secret(), "s3cret of google");
        assert_eq!(one.scopes, ["openid", "profile", "email"]);
        assert!(!format!("{one:?}").contains("s3cret"));
        for listed in [json!([entry()]), json!({ "issuers": [entry()] }), entry()] {
            assert_eq!(read(&format!("  {listed}")).unwrap()[0].issuer, "https://accounts.google.com", "{listed}");
        }
        let scopes = read(&json!([with("scopes", json!(["groups", "openid"]))]).to_string()).unwrap()[0].scopes.clone();
        assert_eq!(scopes, ["openid", "groups"]);
        assert!(read("[]").unwrap().is_empty());
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_and_no_secret_is_repeated() {
        let wrong = json!([
            { "name": "Google", "issuer": "http://accounts.google.com", "client_secret": "canary-1", "client_secret_file": "canary-2" },
            with("client_secret", json!(["canary-3"])),
            { "name": "three", "issuer": "https://i.example", "client_id": "c", "client_secret": "canary\n4", "canary-field\u{e9}": 1 },
            with("name", json!("google")),
            entry(),
            "canary-5",
            with("client_secret_file", json!("/dev/null/none")),
        ]);
        let mistakes = read(&wrong.to_string()).unwrap_err();
        let about = |place: usize| mistakes.iter().filter(|mistake| mistake.contains(&format!("(entry {place})"))).count();
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(about), [4, 1, 2, 0, 1, 1, 1], "{mistakes:#?}");
        assert!(mistakes.iter().all(|mistake| mistake.starts_with(VARIABLE) && !mistake.contains("canary-1")), "{mistakes:#?}");
        for secret in ["canary-2", "canary-3", "canary\n4", "canary-5"] {
            assert!(!mistakes.iter().any(|mistake| mistake.contains(secret)), "{mistakes:#?}");
        }
        for (text, said) in
            [("[{\"client_secret\":\"canary\" ", "no JSON"), ("{\"issuers\":\"canary\"}", "is a list"), ("/dev/null/x", "can't be read")]
        {
            let mistakes = read(text).unwrap_err();
            assert!(mistakes.len() == 1 && mistakes[0].contains(said) && !mistakes[0].contains("canary"), "{mistakes:?}");
        }
    }

    #[test]
    fn an_issuer_is_a_url_of_https_or_of_this_host_and_no_other() {
        for good in ["https://i.example", "https://i.example/realms/a/", "http://127.0.0.1:8080", "http://[::1]:1/x", "http://localhost:1"]
        {
            assert_eq!(read(&json!([with("issuer", json!(good))]).to_string()).unwrap()[0].issuer, good);
        }
        let wrong =
            ["", "i.example", "http://i.example", "https://u@i.example", "https://i.example?x=1", "https://i.example#x", "ftp://i.example"];
        for wrong in wrong {
            assert_eq!(read(&json!([with("issuer", json!(wrong))]).to_string()).unwrap_err().len(), 1, "{wrong}");
        }
    }
}
