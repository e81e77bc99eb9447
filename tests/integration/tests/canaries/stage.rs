//! Both services at the level `trace`, what was answered, and the secrets that are looked for.

use std::collections::BTreeMap;
use std::path::Path;

use integration::hostile_http1::Response;
use integration::oidc_issuer::OidcIssuer;
use integration::process_pair::{ProcessPair, bearer};
use integration::processes::run;
use integration::redis_server::RedisServer;
use integration::scripted_upstream::ScriptedUpstream;
use integration::stack::channel;
use serde_json::json;
use shared::proto::auth as pb;
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::auth::admin_client::AdminClient;
use shared::secret::Secret;
use tonic::transport::Channel;

use crate::issuers;

pub(crate) const PASSWORD: &str = "canary-first-7Qx2mB";
pub(crate) const NEW_PASSWORD: &str = "canary-second-9Lw4kT";
pub(crate) const WRONG_PASSWORD: &str = "canary-wrong-3Hs8pV";
pub(crate) const PROMPT: &str = "canary-prompt-5Ze1rD";
pub(crate) const ANSWER: &str = "canary-answer-6Yf0cN";
/// In places where no secret belongs.
pub(crate) const MISPLACED: &str = "canary-misplaced-2Jg7tM";

/// What is looked for, and what it is.
pub(crate) type Secrets = BTreeMap<String, &'static str>;

/// Both services at the level `trace`, and what was answered.
pub(crate) struct Stage {
    pub(crate) pair: ProcessPair,
    pub(crate) upstream: ScriptedUpstream,
    pub(crate) redis: Option<RedisServer>,
    pub(crate) issuer: OidcIssuer,
    pub(crate) secrets: Secrets,
    pub(crate) service_credential: String,
    /// The account page's, of a session that is over.
    pub(crate) page_cookie: Option<String>,
    /// Answers that give nobody a secret.
    pub(crate) said: Vec<String>,
}

/// What somebody holds.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) token: String,
    pub(crate) refresh_token: String,
    pub(crate) key: String,
}

impl Stage {
    pub(crate) async fn start(redis: Option<RedisServer>) -> Self {
        let upstream = ScriptedUpstream::start().await;
        let secret = || Secret::generate().unwrap().1;
        let (signing, service_credential) = (secret(), secret());
        let jwt = format!("canary:{signing}");
        let issuer = OidcIssuer::start().await;
        issuer.behaviour().client_secret = Some(issuers::CLIENT_SECRET.to_owned());
        let listed = json!([issuer.entry("one")]).to_string();
        let url = redis.as_ref().map(RedisServer::url);
        let mut more = vec![
            ("TOLLGATE_LOG", "trace"),
            ("TOLLGATE_JWT_SECRETS", jwt.as_str()),
            ("TOLLGATE_SERVICE_CREDENTIALS", service_credential.as_str()),
            ("TOLLGATE_SERVICE_CREDENTIAL", service_credential.as_str()),
            ("TOLLGATE_SIGNUPS_PER_HOUR", "1000"),
            ("TOLLGATE_STARTING_CREDITS", "1000"),
            ("TOLLGATE_OIDC_ISSUERS", listed.as_str()),
        ];
        more.extend(url.iter().map(|url| ("TOLLGATE_REDIS_URL", url.as_str())));
        let pair = ProcessPair::start(&upstream.url(), &more);
        let mut secrets = Secrets::new();
        for (secret, what) in [
            (PASSWORD, "a password"),
            (NEW_PASSWORD, "a new password"),
            (WRONG_PASSWORD, "a wrong password"),
            (PROMPT, "a prompt"),
            (ANSWER, "an answer"),
            (issuers::CLIENT_SECRET, "our secret at an issuer"),
            (&signing, "the signing secret"),
            (&service_credential, "the service credential"),
        ] {
            secrets.insert(secret.to_owned(), what);
        }
        Self { pair, upstream, redis, issuer, secrets, service_credential, page_cookie: None, said: Vec::new() }
    }

    pub(crate) fn accounts(&self) -> AccountsClient<Channel> {
        AccountsClient::new(channel(self.pair.auth.address()))
    }

    pub(crate) fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(channel(self.pair.auth.address()))
    }

    /// Notes a token's parts that are secret, whatever it is.
    pub(crate) fn note_token(&mut self, token: &str, what: &'static str) {
        // Of an access token the signature, of a refresh token and a key all that stands behind the ids.
        let secret = match token.rsplit_once('.') {
            Some((_, signature)) => signature,
            None if token.starts_with("tgr_") => &token[32..],
            None => &token[19..43],
        };
        self.secrets.insert(secret.to_owned(), what);
    }

    pub(crate) async fn log_in(&mut self, name: &str, password: &str) -> (String, String) {
        let login = pb::LoginRequest { user_name: name.to_owned(), password: password.to_owned(), ..Default::default() };
        let given = self.accounts().login(login).await.unwrap().into_inner();
        self.note_token(&given.access_token, "an access token");
        self.note_token(&given.refresh_token, "a refresh token");
        (given.access_token, given.refresh_token)
    }

    /// Makes a user who has everything.
    pub(crate) async fn user(&mut self, name: &str) -> Held {
        let sign_up = pb::SignUpRequest { user_name: name.to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
        self.accounts().sign_up(sign_up).await.unwrap();
        let (token, refresh_token) = self.log_in(name, PASSWORD).await;
        let key = self.accounts().create_api_key(bearer(&token, pb::CreateApiKeyRequest::default())).await.unwrap().into_inner().key;
        self.note_token(&key, "an API key");
        Held { token, refresh_token, key }
    }

    /// Makes an operator, who has everything too.
    pub(crate) async fn operator(&mut self) -> Held {
        let made = run("auth-service", &["create-admin", "root"], &self.pair.environment, &format!("{PASSWORD}\n"));
        self.said.push(String::from_utf8_lossy(&made.stderr).into_owned());
        assert!(made.status.success());
        let (token, refresh_token) = self.log_in("root", PASSWORD).await;
        let key = self.accounts().create_api_key(bearer(&token, pb::CreateApiKeyRequest::default())).await.unwrap().into_inner().key;
        self.note_token(&key, "an API key");
        Held { token, refresh_token, key }
    }

    pub(crate) fn note(&mut self, answer: &Response) {
        self.said.push(format!("{:?} {}", answer.headers, answer.text()));
    }

    /// The secrets in a text, whatever the case of their letters, and where they stand.
    pub(crate) fn found_in(&self, text: &str) -> Vec<String> {
        let folded = text.to_lowercase();
        let found = self.secrets.iter().filter(|(secret, _)| folded.contains(&secret.to_lowercase()));
        found
            .map(|(secret, what)| {
                let at = folded.find(&secret.to_lowercase()).unwrap();
                let line = folded[..at].rfind('\n').map_or(0, |start| start + 1);
                let around: String = text[line..].chars().take(1000).collect();
                format!("{what}: {around}")
            })
            .collect()
    }

    /// Ends both services, and looks everywhere.
    pub(crate) fn look(mut self) {
        let _ended = (self.pair.inference.stop(), self.pair.auth.stop());
        for log in [self.pair.auth.log(), self.pair.inference.log()] {
            assert!(log.contains("\"TRACE\""), "all levels are logged");
            let found = self.found_in(&log);
            assert!(found.is_empty(), "in a log: {found:#?}");
        }
        for said in &self.said {
            let found = self.found_in(said);
            assert!(found.is_empty(), "in an answer: {found:#?}");
        }
        let data = &self.pair.environment["TOLLGATE_DATA_DIR"];
        let files = self.redis.as_ref().map_or_else(|| Path::new(data).to_owned(), |redis| redis.folder().to_owned());
        let mut written = Vec::new();
        read_all(&files, &mut written);
        assert!(written.len() > 1000, "the store has written something");
        let found = self.found_in(&String::from_utf8_lossy(&written));
        assert!(found.is_empty(), "in the store: {found:#?}");
    }
}

/// All bytes of all files of a folder.
fn read_all(folder: &Path, into: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, into);
        } else {
            into.extend(std::fs::read(path).unwrap());
        }
    }
}
