//! Operators' changes with `TOLLGATE_REQUIRE_ADMIN_TOTP`, at every door of both services, as real processes.

use std::time::{SystemTime, UNIX_EPOCH};

use integration::http_client::HttpCall;
use integration::process_pair::{ProcessPair, bearer};
use integration::processes::{ServiceProcess, run};
use integration::redis_server::RedisServer;
use integration::scripted_upstream::ScriptedUpstream;
use integration::stack::{PASSWORD, channel};
use serde_json::{Value, json};
use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::auth as pb;
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::auth::admin_client::AdminClient;
use shared::proto::inference::models_client::ModelsClient;
use shared::proto::inference::{CreateModelRequest, DeleteModelRequest};
use shared::secret::Secret;
use tonic::Status;
use tonic::transport::Channel;

const STEP_UP_REQUIRED: &str = "STEP_UP_REQUIRED";

/// Both services, and an operator.
struct Stage {
    pair: ProcessPair,
    accounts: AccountsClient<Channel>,
}

impl Stage {
    fn start(upstream: &ScriptedUpstream, redis: Option<&RedisServer>) -> Self {
        let secret = || Secret::generate().unwrap().1;
        let (jwt, service_credential, url) = (format!("one:{}", secret()), secret(), redis.map(RedisServer::url));
        let mut more = vec![
            ("TOLLGATE_REQUIRE_ADMIN_TOTP", "true"),
            ("TOLLGATE_JWT_SECRETS", jwt.as_str()),
            ("TOLLGATE_SERVICE_CREDENTIALS", service_credential.as_str()),
            ("TOLLGATE_SERVICE_CREDENTIAL", service_credential.as_str()),
        ];
        more.extend(url.iter().map(|url| ("TOLLGATE_REDIS_URL", url.as_str())));
        let pair = ProcessPair::start(&upstream.url(), &more);
        let made = run("auth-service", &["create-admin", "root"], &pair.environment, &format!("{PASSWORD}\n"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let accounts = AccountsClient::new(channel(pair.auth.address()));
        Self { pair, accounts }
    }

    async fn log_in(&mut self, code: &str) -> Result<String, Status> {
        let login = pb::LoginRequest {
            user_name: "root".to_owned(),
            password: PASSWORD.to_owned(),
            second_factor_code: code.to_owned(),
            ..Default::default()
        };
        Ok(self.accounts.login(login).await?.into_inner().access_token)
    }

    /// Turns the second factor on in the session of this token, as an app does; gives recovery codes.
    async fn enroll(&mut self, token: &str) -> Vec<String> {
        let begin = bearer(token, pb::BeginTotpRequest { password: PASSWORD.to_owned() });
        let secret = self.accounts.begin_totp(begin).await.unwrap().into_inner().totp_secret;
        let app = totp_rs::Builder::new().with_secret(totp_rs::Secret::try_from_base32(&secret).unwrap()).build().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let confirm = bearer(token, pb::ConfirmTotpRequest { second_factor_code: app.generate(now).to_string() });
        self.accounts.confirm_totp(confirm).await.unwrap().into_inner().recovery_codes
    }

    /// Why each door refuses an operator's change by this credential; empty where it doesn't, and where what was sent is wrong.
    async fn refusals(&self, credential: &str) -> Vec<(&'static str, String)> {
        let (auth, inference) = (&self.pair.auth, &self.pair.inference);
        let reason = |refused: Option<Status>| {
            let reason = refused.as_ref().and_then(reason_of).map_or("", |reason| reason.as_str_name());
            reason.trim_start_matches("ERROR_REASON_").to_owned()
        };
        let mut admin = AdminClient::new(channel(auth.address()));
        let mut models = ModelsClient::new(channel(inference.address()));
        let unlock = bearer(credential, pb::UnlockUserRequest { user_name: "root".to_owned() });
        let create =
            bearer(credential, CreateModelRequest { model: "mario".to_owned(), modelfile: "FROM smollm2\nSYSTEM hi\n".to_owned() });
        let delete = bearer(credential, DeleteModelRequest { model: "mario".to_owned() });
        let mut all = vec![
            ("Admin over gRPC", reason(admin.unlock_user(unlock).await.err())),
            ("CreateModel over gRPC", reason(models.create_model(create).await.err())),
            ("DeleteModel over gRPC", reason(models.delete_model(delete).await.err())),
        ];
        let unlock = HttpCall::post(auth.address(), "/tollgate.auth.v1.Admin/UnlockUser", &json!({ "user_name": "root" }));
        all.push(("Admin over Connect", answered(unlock, credential).await));
        let delete = HttpCall::post(inference.address(), "/tollgate.inference.v1.Models/DeleteModel", &json!({ "model": "mario" }));
        all.push(("DeleteModel over Connect", answered(delete, credential).await));
        let create = HttpCall::post(inference.address(), "/api/create", &json!({ "model": "mario", "from": "smollm2", "stream": false }));
        all.push(("/api/create", answered(create, credential).await));
        let delete = HttpCall::new(inference.address(), "DELETE", "/api/delete").header("content-type", "application/json");
        all.push(("/api/delete", answered(delete.body(json!({ "model": "mario" }).to_string()), credential).await));
        all
    }
}

/// The reason in an answer, whichever form its door has; empty when it succeeded.
async fn answered(request: HttpCall, credential: &str) -> String {
    let mut answer = request.bearer(credential).send().await;
    let (status, text) = (answer.status, answer.text().await);
    if status < 300 {
        return String::new();
    }
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    // Connect has it among its details, Ollama's door beside the message.
    let in_details = body["details"].as_array().into_iter().flatten().find_map(|detail| detail["debug"]["reason"].as_str());
    let found = in_details.or_else(|| body["code"].as_str()).unwrap_or_default().to_owned();
    assert!(found != STEP_UP_REQUIRED || status == 403, "{status}: {text}");
    found
}

async fn is_required_at_every_door(redis: Option<RedisServer>) {
    let upstream = ScriptedUpstream::start().await;
    let mut stage = Stage::start(&upstream, redis.as_ref());
    let token = stage.log_in("").await.unwrap();
    let assert_all = |refusals: Vec<(&'static str, String)>, are_refused: bool| {
        for (door, reason) in refusals {
            assert_eq!(reason == STEP_UP_REQUIRED, are_refused, "{door}: {reason}");
        }
    };
    assert_all(stage.refusals(&token).await, true);
    assert!(upstream.requests_to("/api/create").is_empty() && upstream.requests_to("/api/delete").is_empty());
    let recovery_codes = stage.enroll(&token).await;
    assert_all(stage.refusals(&token).await, false);
    assert!(!upstream.requests_to("/api/create").is_empty());
    let wanted = pb::CreateApiKeyRequest { scopes: vec!["models".to_owned(), "account".to_owned()], ..Default::default() };
    let key = stage.accounts.create_api_key(bearer(&token, wanted)).await.unwrap().into_inner().key;
    for (door, reason) in stage.refusals(&key).await {
        let expected = if door.starts_with("Admin") { "ACCESS_TOKEN_REQUIRED" } else { STEP_UP_REQUIRED };
        assert_eq!(reason, expected, "{door}, by an API key");
    }
    // Another session has proved nothing, until it does.
    assert_eq!(reason_of(&stage.log_in("").await.unwrap_err()), Some(ErrorReason::SecondFactorRequired));
    let other = stage.log_in(&recovery_codes[0]).await.unwrap();
    assert_all(stage.refusals(&other).await, false);

    // Whoever has the store's host lets an operator in who has lost it. The sessions end, and what they proved is gone.
    let reset = run("auth-service", &["reset-second-factor", "root"], &stage.pair.environment, "");
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    let said = stage.accounts.get_me(bearer(&other, pb::GetMeRequest {})).await.unwrap_err();
    assert_eq!(reason_of(&said), Some(ErrorReason::CredentialRevoked));
    let again = stage.log_in("").await.unwrap();
    assert_all(stage.refusals(&again).await, true);
}

#[tokio::test]
async fn operators_changes_need_a_proved_second_factor_at_every_door_with_sqlite() {
    is_required_at_every_door(None).await;
}

#[tokio::test]
async fn operators_changes_need_a_proved_second_factor_at_every_door_with_redis() {
    is_required_at_every_door(Some(RedisServer::start())).await;
}

#[tokio::test]
async fn a_crash_right_after_a_code_was_used_does_not_make_it_good_again() {
    let upstream = ScriptedUpstream::start().await;
    let mut stage = Stage::start(&upstream, None);
    let token = stage.log_in("").await.unwrap();
    let recovery_codes = stage.enroll(&token).await;
    stage.log_in(&recovery_codes[0]).await.unwrap();
    stage.pair.auth.kill();
    stage.pair.auth = ServiceProcess::start("auth-service", &stage.pair.environment);
    stage.accounts = AccountsClient::new(channel(stage.pair.auth.address()));
    assert_eq!(reason_of(&stage.log_in(&recovery_codes[0]).await.unwrap_err()), Some(ErrorReason::SecondFactorInvalid));
    stage.log_in(&recovery_codes[1]).await.unwrap();
}
