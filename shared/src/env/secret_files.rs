//! Secrets in files: `NAME_FILE` names the file that holds what `NAME` would. So Docker and Kubernetes hand secrets over.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Reader;

/// What a secret's file may hold, in bytes: a wrong path may name anything.
const MOST_BYTES: u64 = 64 * 1024;

/// What a secret's file gave.
#[derive(Debug)]
pub(super) enum SecretFile {
    /// The secret.
    Read(String),
    /// None: a mistake says why.
    Unusable,
}

impl Reader<'_> {
    /// Reads the files of these secrets, where `NAME_FILE` is set. From then on each `NAME` has the value of its file, without the line
    /// breaks at its end. Mistakes about it name `NAME_FILE`.
    pub fn read_secret_files(&mut self, secrets: &[&'static str]) {
        for name in secrets {
            let variable = file_variable(name);
            let Some(path) = self.string(&variable) else { continue };
            let read = if self.string(name).is_some() {
                Err(format!("is set, and so is {name}: unset one of them"))
            } else {
                secret_in(Path::new(&path)).map_err(|why| format!("names {path:?}, which {why}"))
            };
            let file = match read {
                Ok(secret) => SecretFile::Read(secret),
                Err(why) => {
                    self.mistake(&variable, why);
                    SecretFile::Unusable
                }
            };
            self.secret_files.insert(name, file);
        }
    }

    /// Whether a secret was given, in its variable or by a file, rightly or wrongly.
    #[must_use]
    pub fn is_given(&self, name: &str) -> bool {
        self.secret_files.contains_key(name) || self.string(name).is_some()
    }
}

/// The variable that names the file of a secret.
pub(super) fn file_variable(name: &str) -> String {
    format!("{name}_FILE")
}

/// The secret in a file, or what is wrong with the file.
fn secret_in(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("holds more than {MOST_BYTES} bytes, and so is no secret's file"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not text in UTF-8")?;
    let secret = text.trim_end_matches('\n');
    if secret.is_empty() { Err("is empty".to_owned()) } else { Ok(secret.to_owned()) }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        // A file that is mounted into a container keeps its owner and its mode.
        io::ErrorKind::PermissionDenied => format!("can't be read by the user of this process ({error})"),
        _ => format!("can't be read ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Mistakes;
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Option<String>, Vec<String>> {
        let strings: BTreeMap<String, String> = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut reader = Reader::new(&strings);
        reader.read_secret_files(&["SECRET"]);
        let secret = reader.parse("SECRET", |value| if value == "wrong" { Err("must be right".to_owned()) } else { Ok(value.to_owned()) });
        assert_eq!(reader.is_given("SECRET"), !set.is_empty());
        reader.finish(secret).map_err(|Mistakes(mistakes)| mistakes)
    }

    #[test]
    fn a_secret_is_read_from_its_file_as_it_is_but_for_line_breaks_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (written, secret) in
            [("a/#%$ a%41b", "a/#%$ a%41b"), ("one\n", "one"), ("one\ntwo\n\n", "one\ntwo"), (" \t", " \t"), ("é", "é")]
        {
            std::fs::write(&path, written).unwrap();
            assert_eq!(read(&[("SECRET_FILE", path.to_str().unwrap())]), Ok(Some(secret.to_owned())), "{written:?}");
        }
        assert_eq!(read(&[("SECRET_FILE", ""), ("SECRET", "x")]), Ok(Some("x".to_owned())), "set to nothing counts as unset");
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn a_file_that_can_not_be_used_is_named_with_its_variable_and_its_content_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let named = path.to_str().unwrap().to_owned();
        let with = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            read(&[("SECRET_FILE", &named)]).unwrap_err()
        };
        assert!(with(b"\n\n")[0].ends_with("is empty"));
        assert!(with(b"canary\xff")[0].contains("UTF-8"));
        assert!(with(&vec![b'x'; 65_537])[0].contains("more than 65536 bytes"));
        let wrong = with(b"wrong\n");
        assert_eq!(wrong, ["SECRET_FILE must be right"], "a mistake about the value names the variable that was set");
        for mistakes in
            [with(b"canary\xff"), read(&[("SECRET_FILE", "/dev/null/x")]).unwrap_err(), read(&[("SECRET_FILE", "/")]).unwrap_err()]
        {
            assert!(mistakes.len() == 1 && mistakes[0].starts_with("SECRET_FILE names \"/"), "{mistakes:?}");
            assert!(!mistakes[0].contains("canary"), "{mistakes:?}");
        }
        let both = read(&[("SECRET_FILE", &named), ("SECRET", "canary")]).unwrap_err();
        assert_eq!(both, ["SECRET_FILE is set, and so is SECRET: unset one of them"]);
    }
}
