//! The file that lists foreign issuers.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jsonwebtoken::Algorithm;
use reqwest::Url;
use serde::Deserialize;

use super::claims::ForeignClaims;
use crate::ids::{AccountId, UserId};
use crate::token_scopes::TokenScopes;
use crate::user::UserName;

/// Issuers that may be listed.
const MOST_ISSUERS: usize = 100;
/// Algorithms that one may be listed with.
const MOST_ALGORITHMS: usize = 4;
/// Characters of a name, an audience or a claim.
const MOST_CHARACTERS: usize = 256;

/// A foreign issuer.
#[derive(Debug, Clone)]
pub struct IssuerConfig {
    /// What the log and refusals call it.
    pub name: String,
    /// Its tokens' `iss`, to the letter.
    pub issuer: String,
    /// What must be in their `aud`.
    pub audience: String,
    /// Where its keys are.
    pub keys_at: KeysAt,
    /// What its keys may be for; none of them is symmetric.
    pub algorithms: Vec<Algorithm>,
    /// The claim that says who it is.
    pub claim: String,
    /// Our user by the claim's value. `None`: the value is the user's name itself, unless service accounts are named.
    pub users: Option<BTreeMap<String, UserName>>,
    /// The service account by the claim's value.
    pub service_accounts: BTreeMap<String, ServiceAccountPlace>,
    /// What its tokens may be used for.
    pub scopes: TokenScopes,
    /// Whether an operator may use one as such.
    pub admin: bool,
}

/// A service account, by the ids of its organization's account and of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountPlace {
    /// The account that it pays from.
    pub account: AccountId,
    /// Its id.
    pub service_account: UserId,
}

/// Whom a token names here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// A user of this name.
    User(UserName),
    /// A service account.
    ServiceAccount(ServiceAccountPlace),
}

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysAt {
    /// On the network.
    Url(Url),
    /// In a file, which is read anew.
    File(PathBuf),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuersFile {
    issuers: Vec<IssuerEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerEntry {
    name: String,
    issuer: String,
    audience: String,
    jwks_url: Option<String>,
    jwks_file: Option<PathBuf>,
    algorithms: Vec<String>,
    claim: String,
    users: Option<BTreeMap<String, String>>,
    service_accounts: Option<BTreeMap<String, String>>,
    scopes: Option<Vec<String>>,
    #[serde(default)]
    admin: bool,
}

impl IssuerConfig {
    /// Whom the claims name here. A user's name must be written as it is stored: an issuer may have an "Ada" beside an "ada". Where service
    /// accounts alone are listed, nobody else is meant.
    pub(super) fn named_by(&self, claims: &ForeignClaims) -> Option<Named> {
        let value = claims.text(&self.claim)?;
        if let Some(place) = self.service_accounts.get(value) {
            return Some(Named::ServiceAccount(place.clone()));
        }
        let user = match &self.users {
            Some(users) => users.get(value).cloned(),
            None if self.service_accounts.is_empty() => UserName::parse(value).filter(|name| name.as_str() == value),
            None => None,
        };
        user.map(Named::User)
    }
}

/// Whether nobody on a network can read or change what is said to a URL.
#[must_use]
pub fn speaks_tls_or_stays_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    !host.is_empty() && (url.scheme() == "https" || (url.scheme() == "http" && here))
}

/// Reads the file's text; `folder` is where relative names of files begin.
///
/// # Errors
/// What is wrong: a sentence that goes on from "in which".
pub fn parse_issuers(text: &str, folder: &Path) -> Result<Vec<IssuerConfig>, String> {
    let file: IssuersFile = serde_json::from_str(text).map_err(|error| format!("the JSON is none of issuers: {error}"))?;
    if file.issuers.len() > MOST_ISSUERS {
        return Err(format!("there are more than {MOST_ISSUERS} issuers"));
    }
    let (mut names, mut issuers) = (HashSet::new(), HashSet::new());
    for entry in &file.issuers {
        if !names.insert(&entry.name) || !issuers.insert(&entry.issuer) {
            return Err(format!("{:?} has the name or the issuer of another entry", entry.name));
        }
    }
    let read = |entry: IssuerEntry| {
        let name = entry.name.clone();
        entry.read(folder).map_err(|why| format!("{name:?} {why}"))
    };
    file.issuers.into_iter().map(read).collect()
}

impl IssuerEntry {
    fn read(self, folder: &Path) -> Result<IssuerConfig, String> {
        for (field, text) in [("name", &self.name), ("issuer", &self.issuer), ("audience", &self.audience), ("claim", &self.claim)] {
            if text.is_empty() || text.chars().count() > MOST_CHARACTERS || text.chars().any(char::is_control) {
                return Err(format!("must have 1 to {MOST_CHARACTERS} characters as {field}, none of them a control character"));
            }
        }
        let keys_at = match (self.jwks_url, self.jwks_file) {
            (Some(url), None) => KeysAt::Url(keys_url(&url)?),
            (None, Some(file)) => KeysAt::File(folder.join(file)),
            _ => return Err("must have either jwks_url or jwks_file".to_owned()),
        };
        let algorithms = self.algorithms.iter().map(|name| asymmetric(name)).collect::<Result<Vec<_>, _>>()?;
        let different = algorithms.iter().enumerate().all(|(place, algorithm)| !algorithms[..place].contains(algorithm));
        if !(1..=MOST_ALGORITHMS).contains(&algorithms.len()) || !different {
            return Err(format!("must name 1 to {MOST_ALGORITHMS} different algorithms"));
        }
        let users = self.users.map(named_users).transpose()?;
        let service_accounts = named_service_accounts(self.service_accounts.unwrap_or_default())?;
        if let Some(both) = users.iter().flat_map(BTreeMap::keys).find(|value| service_accounts.contains_key(*value)) {
            return Err(format!("names {both:?} both as a user and as a service account"));
        }
        let scopes = TokenScopes::parse(&self.scopes.unwrap_or_default().join(" ")).ok_or("has a scope that is none of this service's")?;
        let Self { name, issuer, audience, claim, admin, .. } = self;
        Ok(IssuerConfig { name, issuer, audience, keys_at, algorithms, claim, users, service_accounts, scopes, admin })
    }
}

fn named_users(users: BTreeMap<String, String>) -> Result<BTreeMap<String, UserName>, String> {
    let named = |(value, name): (String, String)| match UserName::parse(&name) {
        Some(name) => Ok((value, name)),
        None => Err(format!("names {name:?} as a user, which is no user's name")),
    };
    users.into_iter().map(named).collect()
}

fn named_service_accounts(named: BTreeMap<String, String>) -> Result<BTreeMap<String, ServiceAccountPlace>, String> {
    let read = |(value, place): (String, String)| {
        let ids = place.split_once('/').and_then(|(account, id)| Some((AccountId::parse(account)?, UserId::parse(id)?)));
        match ids {
            Some((account, service_account)) if !account.is_own_of(&service_account) => {
                Ok((value, ServiceAccountPlace { account, service_account }))
            }
            _ => Err(format!(
                "names {place:?} as a service account, which isn't the ids of an organization and of one of its service accounts: \
                 ACCOUNT/SERVICE_ACCOUNT"
            )),
        }
    };
    named.into_iter().map(read).collect()
}

fn keys_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| speaks_tls_or_stays_here(url) && url.username().is_empty() && url.password().is_none());
    url.ok_or_else(|| "must have a jwks_url of https (http only on this host), without a user".to_owned())
}

fn asymmetric(name: &str) -> Result<Algorithm, String> {
    Ok(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return Err(format!("has the algorithm {name:?}: there are RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry() -> Value {
        json!({
            "name": "corp", "issuer": "https://id.example.com", "audience": "tollgate", "jwks_url": "https://id.example.com/keys",
            "algorithms": ["RS256", "EdDSA"], "claim": "sub"
        })
    }

    fn parse(entries: &[Value]) -> Result<Vec<IssuerConfig>, String> {
        parse_issuers(&json!({ "issuers": entries }).to_string(), Path::new("/etc/tollgate"))
    }

    fn with(name: &str, value: Value) -> Value {
        let mut entry = entry();
        entry[name] = value;
        entry
    }

    #[test]
    fn an_issuer_is_read_as_it_is_written() {
        let mut more = with("users", json!({ "u-1": "Ada" }));
        more["name"] = json!("other");
        more["issuer"] = json!("other");
        more["scopes"] = json!(["account"]);
        more["admin"] = json!(true);
        more["jwks_file"] = json!("keys.json");
        more.as_object_mut().unwrap().remove("jwks_url");
        let read = parse(&[entry(), more]).unwrap();
        assert_eq!((read[0].algorithms.as_slice(), read[0].admin), (&[Algorithm::RS256, Algorithm::EdDSA][..], false));
        assert_eq!((&read[0].scopes, read[0].users.is_none()), (&TokenScopes::All, true));
        assert_eq!(read[1].keys_at, KeysAt::File("/etc/tollgate/keys.json".into()));
        assert_eq!(read[1].users.as_ref().unwrap()["u-1"].as_str(), "ada");
        assert!(read[1].admin && read[1].scopes.is_limited());
        assert!(parse(&[]).unwrap().is_empty());
        let robots = with("service_accounts", json!({ "repo:main": "0123456789abcdef/fedcba9876543210" }));
        let place = parse(&[robots]).unwrap()[0].service_accounts["repo:main"].clone();
        assert_eq!((place.account.as_str(), place.service_account.as_str()), ("0123456789abcdef", "fedcba9876543210"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_or_let_anybody_in_is_refused_by_its_entry() {
        for wrong in [
            with("algorithms", json!(["HS256"])),
            with("algorithms", json!(["none"])),
            with("algorithms", json!([])),
            with("algorithms", json!(["RS256", "RS256"])),
            with("algorithms", json!(["RS256", "RS384", "RS512", "PS256", "PS384"])),
            with("jwks_url", json!("http://id.example.com/keys")),
            with("jwks_url", json!("http://127.0.0.1.example.com/keys")),
            with("jwks_url", json!("file:///etc/passwd")),
            with("jwks_url", json!("https://user@id.example.com")),
            with("jwks_url", Value::Null),
            with("jwks_file", json!("keys.json")),
            with("audience", json!("")),
            with("claim", json!("")),
            with("issuer", json!("a\nb")),
            with("users", json!({ "u-1": "not a user" })),
            with("scopes", json!(["everything"])),
            with("user", json!({})),
            with("service_accounts", json!({ "ci": "fedcba9876543210" })),
            with("service_accounts", json!({ "ci": "0123456789abcdef/ci" })),
            with("service_accounts", json!({ "ci": "0123456789abcdef/fedcba9876543210/" })),
            with("service_accounts", json!({ "ci": "0123456789abcdef/0123456789abcdef" })),
            with("service_accounts", json!(["0123456789abcdef/fedcba9876543210"])),
        ] {
            assert!(parse(std::slice::from_ref(&wrong)).is_err(), "{wrong}");
        }
        for missing in ["name", "issuer", "audience", "algorithms", "claim"] {
            let mut entry = entry();
            entry.as_object_mut().unwrap().remove(missing);
            assert!(parse(&[entry]).is_err(), "{missing}");
        }
        assert!(parse(&[entry(), entry()]).unwrap_err().contains("another entry"));
        let mut both = with("users", json!({ "ci": "ada" }));
        both["service_accounts"] = json!({ "ci": "0123456789abcdef/fedcba9876543210" });
        assert!(parse(&[both]).unwrap_err().contains("both as a user and as a service account"));
        for here in ["http://127.0.0.1:8080/keys", "http://[::1]/keys", "http://localhost/keys"] {
            assert!(parse(&[with("jwks_url", json!(here))]).is_ok(), "{here}");
        }
    }
}
