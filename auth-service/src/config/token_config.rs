//! How access tokens are signed, and whose others are taken.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use shared::env::Reader;

use crate::access_token::{ISSUER, TokenAlgorithm};
use crate::foreign_issuer::{IssuerConfig, parse_issuers, speaks_tls_or_stays_here};

/// How long a key signs, unless said otherwise.
const DEFAULT_PERIOD: Duration = Duration::from_secs(30 * 24 * 3600);
/// What a file of issuers may hold, in bytes: a wrong path may name anything.
const MOST_BYTES: u64 = 1 << 20;

/// What there is to say of access tokens beside the secrets that sign them.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// What new ones are signed by.
    pub algorithm: TokenAlgorithm,
    /// How long a derived key signs.
    pub key_period: Duration,
    /// Their `iss`, when it isn't the usual one: the URL by which clients know this service.
    pub issuer: Option<String>,
    /// Others whose tokens are taken.
    pub issuers: Vec<IssuerConfig>,
}

impl TokenConfig {
    /// `outlives`: how long a key must still verify after it signed.
    pub(super) fn read(reader: &mut Reader<'_>, outlives: Duration) -> Self {
        let algorithm = reader.parse("TOLLGATE_TOKEN_ALGORITHM", |value| match value {
            "HS256" => Ok(TokenAlgorithm::Hs256),
            "EdDSA" => Ok(TokenAlgorithm::EdDsa),
            _ => Err(format!("must be HS256 or EdDSA, and is {value:?}")),
        });
        let (second, year) = (Duration::from_secs(1), Duration::from_secs(366 * 24 * 3600));
        let key_period = reader.duration("TOLLGATE_TOKEN_KEY_PERIOD", DEFAULT_PERIOD, 10 * second..=year);
        if key_period < outlives || key_period.subsec_nanos() > 0 {
            let why = "must be whole seconds, and no less than TOLLGATE_ACCESS_TOKEN_TTL and twice TOLLGATE_CLOCK_LEEWAY together";
            let why = format!("{why}: {outlives:?}");
            reader.mistake("TOLLGATE_TOKEN_KEY_PERIOD", why);
        }
        let issuer = reader.parse("TOLLGATE_ISSUER", issuer);
        let ours = issuer.clone();
        let issuers = reader.parse("TOLLGATE_TOKEN_ISSUERS_FILE", |path| {
            let text = read_file(Path::new(path)).map_err(|why| format!("names {path:?}, which {why}"))?;
            let folder = Path::new(path).parent().unwrap_or(Path::new("."));
            let issuers = parse_issuers(&text, folder).map_err(|why| format!("names {path:?}, in which {why}"))?;
            match issuers.iter().find(|other| other.issuer == ISSUER || Some(&other.issuer) == ours.as_ref()) {
                Some(other) => Err(format!("names {path:?}, in which {:?} has this service's own issuer", other.name)),
                None => Ok(issuers),
            }
        });
        Self { algorithm: algorithm.unwrap_or(TokenAlgorithm::Hs256), key_period, issuer, issuers: issuers.unwrap_or_default() }
    }
}

/// A URL as RFC 8414 has an issuer: https, or http on this host, with nothing behind its path.
fn issuer(text: &str) -> Result<String, String> {
    let is_issuer = Url::parse(text).is_ok_and(|url| {
        let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        speaks_tls_or_stays_here(&url) && bare && !text.ends_with(['/', '?', '#']) && text.bytes().all(|byte| byte.is_ascii_graphic())
    });
    let expected = || format!("must be a URL such as https://auth.example.com, without a slash at its end, and is {text:?}");
    if is_issuer { Ok(text.to_owned()) } else { Err(expected()) }
}

fn read_file(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text));
    read.map_err(|error| format!("can't be read ({error})"))?;
    if text.len() as u64 > MOST_BYTES { Err(format!("holds more than {MOST_BYTES} bytes")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shared::env::Mistakes;

    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<TokenConfig, Vec<String>> {
        let strings: BTreeMap<String, String> = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut reader = Reader::new(&strings);
        let tokens = TokenConfig::read(&mut reader, Duration::from_secs(1810));
        reader.finish(tokens).map_err(|Mistakes(mistakes)| mistakes)
    }

    #[test]
    fn a_key_signs_at_least_as_long_as_its_tokens_live() {
        for (period, good) in [("30d", true), ("1h", true), ("1810s", true), ("1809s", false), ("5s", false), ("400d", false)] {
            assert_eq!(read(&[("TOLLGATE_TOKEN_KEY_PERIOD", period)]).is_ok(), good, "{period}");
        }
        assert_eq!(read(&[]).unwrap().key_period, DEFAULT_PERIOD);
    }

    #[test]
    fn an_issuer_is_a_url_of_https_or_of_this_host() {
        for good in ["https://auth.example.com", "https://a.b:8443/tollgate", "http://127.0.0.1:50051", "http://localhost:1"] {
            assert_eq!(read(&[("TOLLGATE_ISSUER", good)]).unwrap().issuer.as_deref(), Some(good));
        }
        for wrong in
            ["tollgate", "https://a.b/", "https://a.b?", "https://a.b?x=1", "https://a.b#x", "http://a.b", "https://u:p@a.b", "ftp://a.b"]
        {
            assert_eq!(read(&[("TOLLGATE_ISSUER", wrong)]).unwrap_err().len(), 1, "{wrong}");
        }
    }

    #[test]
    fn a_file_of_issuers_that_can_not_be_used_is_a_mistake_and_so_is_our_own_name_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("issuers.json");
        let set = |issuer: &str| {
            let one = serde_json::json!({
                "name": "corp", "issuer": issuer, "audience": "tollgate", "jwks_url": "https://id.example.com/keys",
                "algorithms": ["RS256"], "claim": "preferred_username"
            });
            std::fs::write(&path, serde_json::json!({ "issuers": [one] }).to_string()).unwrap();
            read(&[("TOLLGATE_ISSUER", "https://ours.example.com"), ("TOLLGATE_TOKEN_ISSUERS_FILE", path.to_str().unwrap())])
        };
        assert_eq!(set("https://id.example.com").unwrap().issuers[0].name, "corp");
        for ours in ["tollgate", "https://ours.example.com"] {
            let mistakes = set(ours).unwrap_err();
            assert!(mistakes[0].starts_with("TOLLGATE_TOKEN_ISSUERS_FILE") && mistakes[0].contains("own issuer"), "{mistakes:?}");
        }
        for wrong in ["/dev/null", "/dev/null/x", folder.path().to_str().unwrap(), "/dev/zero"] {
            assert_eq!(read(&[("TOLLGATE_TOKEN_ISSUERS_FILE", wrong)]).unwrap_err().len(), 1, "{wrong}");
        }
    }
}
