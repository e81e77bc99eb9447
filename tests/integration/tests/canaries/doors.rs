//! The doors that are no methods of the contract, and a user's life from sign-up on.

use integration::hostile_http1::HostileHttp1;
use integration::process_pair::bearer;
use integration::scripted_upstream::{Script, chat_line, done_line};
use serde_json::json;
use shared::credential_form::to_bearer;
use shared::proto::auth as pb;

use crate::stage::{ANSWER, Held, MISPLACED, NEW_PASSWORD, PASSWORD, PROMPT, Stage, WRONG_PASSWORD};

impl Stage {
    /// Chats at every door, and what is refused there.
    pub(crate) async fn doors(&mut self, held: &Held) {
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
    pub(crate) async fn oauth2(&mut self, held: &Held) {
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
    pub(crate) async fn lives(&mut self, operator: &Held) {
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

/// 64 digits are also what a SHA-256 is: as the id of a charge they are taken at their word.
fn label(secret: &str) -> &str {
    if secret.len() == 64 { "label" } else { secret }
}
