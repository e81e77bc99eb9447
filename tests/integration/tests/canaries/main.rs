//! Secrets are sent through every path, right and wrong, to both services at the level `trace`, and then looked for: in what was logged, in
//! what was answered, and in all that the store has written.

mod account_page;
mod identity;
mod issuers;

use std::collections::BTreeMap;
use std::path::Path;

use integration::hostile_http1::{HostileHttp1, Response};
use integration::oidc_issuer::OidcIssuer;
use integration::process_pair::{ProcessPair, bearer};
use integration::processes::run;
use integration::redis_server::RedisServer;
use integration::scripted_upstream::{Script, ScriptedUpstream, chat_line, done_line};
use integration::stack::channel;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use serde_json::{Value, json};
use shared::credential_form::{holds_credential, to_bearer};
use shared::proto::auth as pb;
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::auth::admin_client::AdminClient;
use shared::secret::Secret;
use tonic::transport::Channel;

const PASSWORD: &str = "canary-first-7Qx2mB";
const NEW_PASSWORD: &str = "canary-second-9Lw4kT";
const WRONG_PASSWORD: &str = "canary-wrong-3Hs8pV";
const PROMPT: &str = "canary-prompt-5Ze1rD";
const ANSWER: &str = "canary-answer-6Yf0cN";
/// In places where no secret belongs.
const MISPLACED: &str = "canary-misplaced-2Jg7tM";

/// Fields that name something: what people call their own things is kept, and shown to those whom it concerns.
const LABELS: [&str; 4] = ["request_id", "attempt_id", "model", "name"];

/// What is looked for, and what it is.
type Secrets = BTreeMap<String, &'static str>;

/// Both services at the level `trace`, and what was answered.
struct Stage {
    pair: ProcessPair,
    upstream: ScriptedUpstream,
    redis: Option<RedisServer>,
    issuer: OidcIssuer,
    secrets: Secrets,
    service_credential: String,
    /// The account page's, of a session that is over.
    page_cookie: Option<String>,
    /// Answers that give nobody a secret.
    said: Vec<String>,
}

/// What somebody holds.
#[derive(Clone)]
struct Held {
    token: String,
    refresh_token: String,
    key: String,
}

impl Stage {
    async fn start(redis: Option<RedisServer>) -> Self {
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

    fn accounts(&self) -> AccountsClient<Channel> {
        AccountsClient::new(channel(self.pair.auth.address()))
    }

    fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(channel(self.pair.auth.address()))
    }

    /// Notes a token's parts that are secret, whatever it is.
    fn note_token(&mut self, token: &str, what: &'static str) {
        // Of an access token the signature, of a refresh token and a key all that stands behind the ids.
        let secret = match token.rsplit_once('.') {
            Some((_, signature)) => signature,
            None if token.starts_with("tgr_") => &token[32..],
            None => &token[19..43],
        };
        self.secrets.insert(secret.to_owned(), what);
    }

    async fn log_in(&mut self, name: &str, password: &str) -> (String, String) {
        let login = pb::LoginRequest { user_name: name.to_owned(), password: password.to_owned(), ..Default::default() };
        let given = self.accounts().login(login).await.unwrap().into_inner();
        self.note_token(&given.access_token, "an access token");
        self.note_token(&given.refresh_token, "a refresh token");
        (given.access_token, given.refresh_token)
    }

    /// Makes a user who has everything.
    async fn user(&mut self, name: &str) -> Held {
        let sign_up = pb::SignUpRequest { user_name: name.to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
        self.accounts().sign_up(sign_up).await.unwrap();
        let (token, refresh_token) = self.log_in(name, PASSWORD).await;
        let key = self.accounts().create_api_key(bearer(&token, pb::CreateApiKeyRequest::default())).await.unwrap().into_inner().key;
        self.note_token(&key, "an API key");
        Held { token, refresh_token, key }
    }

    /// Makes an operator, who has everything too.
    async fn operator(&mut self) -> Held {
        let made = run("auth-service", &["create-admin", "root"], &self.pair.environment, &format!("{PASSWORD}\n"));
        self.said.push(String::from_utf8_lossy(&made.stderr).into_owned());
        assert!(made.status.success());
        let (token, refresh_token) = self.log_in("root", PASSWORD).await;
        let key = self.accounts().create_api_key(bearer(&token, pb::CreateApiKeyRequest::default())).await.unwrap().into_inner().key;
        self.note_token(&key, "an API key");
        Held { token, refresh_token, key }
    }

    fn note(&mut self, answer: &Response) {
        self.said.push(format!("{:?} {}", answer.headers, answer.text()));
    }

    /// The secrets in a text, whatever the case of their letters, and where they stand.
    fn found_in(&self, text: &str) -> Vec<String> {
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
    fn look(mut self) {
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

/// What each method takes, by the contract: its path, and its message with this text in every field that takes text.
fn methods(of: &str, text: &str) -> Vec<(String, Value)> {
    let set: FileDescriptorSet = prost::Message::decode(shared::proto::FILE_DESCRIPTOR_SET).unwrap();
    let messages: BTreeMap<String, &DescriptorProto> = set
        .file
        .iter()
        .flat_map(|file| file.message_type.iter().map(move |message| (format!(".{}.{}", file.package(), message.name()), message)))
        .collect();
    let mut found = Vec::new();
    for file in set.file.iter().filter(|file| file.package().contains(of)) {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                found.push((path, filled(messages[method.input_type()], &messages, text)));
            }
        }
    }
    found
}

fn filled(message: &DescriptorProto, messages: &BTreeMap<String, &DescriptorProto>, text: &str) -> Value {
    let mut object = serde_json::Map::new();
    for field in &message.field {
        let value = match field.r#type() {
            // Labels are logged by their meaning: a password in one can't be told from any other.
            Type::String if LABELS.contains(&field.name()) && !holds_credential(text) => json!("label"),
            Type::String => json!(text),
            Type::Message => match messages.get(field.type_name()) {
                Some(inner) => filled(inner, messages, text),
                None => continue,
            },
            _ => continue,
        };
        // One of several: the first.
        if field.oneof_index.is_some() && !field.proto3_optional() {
            continue;
        }
        let value = if field.label() == Label::Repeated { json!([value]) } else { value };
        object.insert(field.name().to_owned(), value);
    }
    Value::Object(object)
}

impl Stage {
    /// Calls every method of both services, by JSON and by gRPC-Web, with each text in every field that takes one, and as none, as anybody
    /// and as each of these callers; in the right form and in wrong ones.
    async fn spray(&mut self, callers: &[String], texts: &[String]) {
        for (service, address) in [("auth", self.pair.auth.address()), ("inference", self.pair.inference.address())] {
            let mut http1 = HostileHttp1::connect(address).await;
            for text in texts {
                for (path, message) in methods(&format!("tollgate.{service}.v1"), text) {
                    // What follows would have nothing to be called with.
                    let ends_sessions = path.ends_with("Logout") || path.ends_with("LogoutEverywhere");
                    // It goes on for as long as it is read, and takes no text but a cursor.
                    let is_endless = path.ends_with("WatchRevocations");
                    for caller in callers.iter().filter(|_| !ends_sessions && !is_endless) {
                        let authorization = to_bearer(caller);
                        let right = message.to_string();
                        let no_json = format!("{{\"{text}");
                        let wrong_kind = json!({ text: { text: text } }).to_string();
                        for body in [right.as_str(), &no_json, &wrong_kind] {
                            let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
                            let answer = http1.call("POST", &path, &headers, body.as_bytes()).await;
                            let closed = answer.header("connection") == "close";
                            // What gives a secret gives it to whom it belongs; what is in the wrong place may be named to its sender.
                            if answer.status != 200 && body == right {
                                self.note(&answer);
                            }
                            if closed {
                                http1 = HostileHttp1::connect(address).await;
                            }
                        }
                        // As the first field, which may be a label, or as one that isn't known.
                        let tag = if holds_credential(text) { 0x0a } else { 0x7a };
                        let mut field = vec![tag];
                        prost::encoding::encode_varint(text.len() as u64, &mut field);
                        field.extend_from_slice(text.as_bytes());
                        for body in [field.as_slice(), text.as_bytes()] {
                            let framed = integration::raw_http2::prefixed(body);
                            let headers = [("content-type", "application/grpc-web+proto"), ("authorization", authorization.as_str())];
                            let mut http1 = HostileHttp1::connect(address).await;
                            let _answer = http1.call("POST", &path, &headers, &framed).await;
                        }
                    }
                }
            }
        }
    }

    /// Chats at every door, and what is refused there.
    async fn doors(&mut self, held: &Held) {
        let line = chat_line(ANSWER);
        let generated = json!({ "model": "smollm2", "response": ANSWER, "done": false });
        let chat = Script::stream().line(&line).line(&done_line("stop", 5, 1));
        self.upstream.script("/api/chat", chat);
        let mut done = done_line("stop", 5, 1);
        done["response"] = json!("");
        self.upstream.script("/api/generate", Script::stream().line(&generated).line(&done));
        let messages = json!([{ "role": "user", "content": PROMPT }]);
        let doors = [
            ("/v1/chat/completions", json!({ "model": "smollm2", "messages": messages, "max_tokens": 64 })),
            ("/v1/completions", json!({ "model": "smollm2", "prompt": PROMPT, "max_tokens": 64 })),
            ("/v1/responses", json!({ "model": "smollm2", "input": PROMPT, "max_output_tokens": 64 })),
            ("/v1/messages", json!({ "model": "smollm2", "messages": messages, "max_tokens": 64 })),
            ("/v1/embeddings", json!({ "model": "smollm2", "input": PROMPT })),
            ("/api/chat", json!({ "model": "smollm2", "messages": messages })),
            ("/api/generate", json!({ "model": "smollm2", "prompt": PROMPT })),
            ("/api/embed", json!({ "model": "smollm2", "input": PROMPT })),
            ("/api/show", json!({ "model": "smollm2" })),
        ];
        let address = self.pair.inference.address();
        for (path, body) in &doors {
            for secret in [held.key.clone(), held.token.clone(), held.refresh_token.clone(), self.service_credential.clone()] {
                let (authorization, cookie) = (to_bearer(&secret), format!("session={secret}"));
                for stream in [true, false] {
                    let mut good = body.clone();
                    good["stream"] = json!(stream);
                    let (in_query, in_path) = (format!("{path}?api_key={secret}"), format!("/key/{secret}{path}"));
                    let behind = format!("{path}/{secret}");
                    let in_model = json!({ "model": secret, "messages": messages, "prompt": PROMPT, "input": PROMPT, "max_tokens": 64 });
                    let as_field = json!({ "model": "smollm2", secret.clone(): secret, "messages": messages, "prompt": PROMPT });
                    let bearer = ("authorization", authorization.as_str());
                    let key = to_bearer(&held.key);
                    let with_key = ("authorization", key.as_str());
                    for (path, headers, body) in [
                        (*path, vec![bearer], &good),
                        (*path, vec![("x-api-key", secret.as_str())], &good),
                        (*path, vec![with_key, ("x-request-id", secret.as_str())], &good),
                        (*path, vec![with_key, ("idempotency-key", label(&secret))], &good),
                        (*path, vec![with_key, ("user-agent", secret.as_str()), ("cookie", &cookie)], &good),
                        (*path, vec![with_key, ("x-tollgate-account", secret.as_str())], &good),
                        (*path, vec![with_key, ("x-forwarded-for", secret.as_str()), ("traceparent", secret.as_str())], &good),
                        (&in_query, vec![with_key], &good),
                        (&in_path, vec![], &good),
                        (&behind, vec![with_key], &good),
                        (*path, vec![with_key], &in_model),
                        (*path, vec![with_key], &as_field),
                    ] {
                        let mut http1 = HostileHttp1::connect(address).await;
                        let headers = [&[("content-type", "application/json")], &headers[..]].concat();
                        let answer = http1.call("POST", path, &headers, body.to_string().as_bytes()).await;
                        // The name of a field that isn't known is told to whoever sent it, and to nobody else.
                        if answer.status != 200 && !std::ptr::eq(body, &as_field) {
                            self.note(&answer);
                        }
                    }
                }
            }
        }
    }

    /// OAuth2's endpoints and what else auth-service has over HTTP.
    async fn oauth2(&mut self, held: &Held) {
        let address = self.pair.auth.address();
        let form = ("content-type", "application/x-www-form-urlencoded");
        for (path, body) in [
            ("/token".to_owned(), format!("grant_type=password&username=ada&password={WRONG_PASSWORD}")),
            ("/token".to_owned(), format!("grant_type=password&username={WRONG_PASSWORD}&password={WRONG_PASSWORD}")),
            ("/token".to_owned(), format!("grant_type=password&username=ada&password={WRONG_PASSWORD}&scope={PASSWORD}")),
            ("/token".to_owned(), format!("grant_type={PASSWORD}&username=ada&password={WRONG_PASSWORD}")),
            ("/token".to_owned(), format!("grant_type=password&username=ada&password={PASSWORD}&client_secret={WRONG_PASSWORD}")),
            (format!("/token?password={PASSWORD}&refresh_token={}", held.refresh_token), String::new()),
            ("/token".to_owned(), format!("grant_type=refresh_token&refresh_token={}x", held.refresh_token)),
            ("/token".to_owned(), format!("grant_type=refresh_token&refresh_token={}", held.key)),
            ("/revoke".to_owned(), format!("token={}x", held.refresh_token)),
            ("/introspect".to_owned(), format!("token={}", held.key)),
            (format!("/revoke?token={}", held.key), String::new()),
            (format!("/introspect?token={}", held.token), String::new()),
            (format!("/users/me?access_token={}", held.token), String::new()),
            (format!("/{}/token", held.key), String::new()),
        ] {
            for authorization in [to_bearer(&held.key), "Basic Y2FuYXJ5LXdyb25nLTNIczhwVjp4".to_owned()] {
                for id in [held.key.as_str(), held.refresh_token.as_str()] {
                    let mut http1 = HostileHttp1::connect(address).await;
                    let headers = [form, ("authorization", authorization.as_str()), ("x-request-id", id), ("user-agent", id)];
                    let answer = http1.call("POST", &path, &headers, body.as_bytes()).await;
                    if answer.status != 200 {
                        self.note(&answer);
                    }
                }
            }
        }
    }

    /// What people and operators do with passwords, sessions and keys, right and wrong.
    async fn lives(&mut self, operator: &Held) {
        let held = self.user("ada").await;
        let mut accounts = self.accounts();
        let mut admin = self.admin();
        for (name, password) in [("ada", WRONG_PASSWORD), (WRONG_PASSWORD, WRONG_PASSWORD), (PASSWORD, "ada"), ("nobody", PASSWORD)] {
            let login = pb::LoginRequest { user_name: name.to_owned(), password: password.to_owned(), ..Default::default() };
            self.said.push(format!("{:?}", accounts.login(login).await.unwrap_err()));
        }
        let refreshed = accounts.refresh(pb::RefreshRequest { refresh_token: held.refresh_token.clone() }).await.unwrap().into_inner();
        self.note_token(&refreshed.access_token, "an access token");
        self.note_token(&refreshed.refresh_token, "a refresh token");
        let change = |current: &str, new: &str| {
            let change = pb::ChangePasswordRequest { current_password: current.to_owned(), new_password: new.to_owned() };
            bearer(&refreshed.access_token, change)
        };
        self.said.push(format!("{:?}", accounts.change_password(change(WRONG_PASSWORD, NEW_PASSWORD)).await.unwrap_err()));
        self.said.push(format!("{:?}", accounts.change_password(change(PASSWORD, PASSWORD)).await.unwrap_err()));
        accounts.change_password(change(PASSWORD, NEW_PASSWORD)).await.unwrap();
        let reset = bearer(&operator.token, pb::ResetPasswordRequest { user_name: "ada".to_owned() });
        let one_time_password = admin.reset_password(reset).await.unwrap().into_inner().one_time_password;
        self.secrets.insert(one_time_password.clone(), "a one-time password");
        let complete = |one_time_password: &str| pb::CompletePasswordResetRequest {
            user_name: "ada".to_owned(),
            one_time_password: one_time_password.to_owned(),
            new_password: PASSWORD.to_owned(),
            ..Default::default()
        };
        let login = pb::LoginRequest { user_name: "ada".to_owned(), password: one_time_password.clone(), ..Default::default() };
        self.said.push(format!("{:?}", accounts.login(login).await.unwrap_err()));
        self.said.push(format!("{:?}", accounts.complete_password_reset(complete(WRONG_PASSWORD)).await.unwrap_err()));
        let again = accounts.complete_password_reset(complete(&one_time_password)).await.unwrap().into_inner();
        self.note_token(&again.access_token, "an access token");
        self.note_token(&again.refresh_token, "a refresh token");
        // A used refresh token, and one that was never given.
        for refresh_token in [held.refresh_token.clone(), format!("{}x", held.refresh_token), held.key.clone(), again.access_token] {
            self.said.push(format!("{:?}", accounts.refresh(pb::RefreshRequest { refresh_token }).await.unwrap_err()));
        }
        let create = pb::CreateUserRequest {
            user_name: "made".to_owned(),
            password: NEW_PASSWORD.to_owned(),
            full_name: MISPLACED.to_owned(),
            ..Default::default()
        };
        admin.create_user(bearer(&operator.token, create)).await.unwrap();
    }
}

async fn every_path(redis: Option<RedisServer>) {
    let mut stage = Stage::start(redis).await;
    let operator = stage.operator().await;
    stage.lives(&operator).await;
    let held = stage.user("bea").await;
    stage.doors(&held).await;
    stage.oauth2(&held).await;
    stage.account_page(&operator).await;
    stage.issuers(&held).await;
    let forged = forge(&held.token);
    stage.note_token(&forged, "a forged token");
    let callers = [operator.token.clone(), held.token.clone(), held.key.clone(), forged, stage.service_credential.clone()];
    let guest = stage.user("gil").await;
    let mut shown_once = stage.second_factor().await.to_vec();
    shown_once.extend([stage.organizations(&held, &guest).await, stage.devices(&held).await]);
    stage.spray(&[guest.token], &shown_once).await;
    // Last, since a credential in the right field is revoked.
    let texts = [PASSWORD.to_owned(), operator.key.clone(), held.refresh_token.clone()];
    stage.spray(&callers, &texts).await;
    if let Some(redis) = &mut stage.redis {
        redis.kill();
        // The store is away: whatever is said of it says nothing of the call.
        stage.spray(&callers[1..3], &texts[..1]).await;
        stage.oauth2(&held).await;
        stage.account_page_without_store().await;
    }
    stage.look();
}

/// 64 digits are also what a SHA-256 is: as the id of a charge they are taken at their word.
fn label(secret: &str) -> &str {
    if secret.len() == 64 { "label" } else { secret }
}

/// A token with the signature of somebody else.
fn forge(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    format!("{signed}.{}", signature.chars().rev().collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_an_answer_or_sqlite_whatever_path_it_went_at_every_level() {
    every_path(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_an_answer_or_redis_whatever_path_it_went_also_while_the_store_is_away() {
    every_path(Some(RedisServer::start())).await;
}
