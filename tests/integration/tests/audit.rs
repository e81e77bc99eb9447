//! What operators change is in the audit trail: who, what, and whether it worked.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::time::Duration;

use integration::polling::{SOON, until};
use integration::processes::{ServiceProcess, run};
use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::{PASSWORD, channel};
use serde_json::{Value, json};
use shared::credential_form::to_bearer;
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::auth::{GetMeRequest, LoginRequest};
use shared::proto::inference::models_client::ModelsClient;
use shared::proto::inference::{CreateModelRequest, DeleteModelRequest};
use tonic::Request;
use tonic::transport::Channel;

fn bearer<T>(credential: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", to_bearer(credential).parse().unwrap());
    request
}

/// Both services as processes, and an operator.
struct Operated {
    _auth: ServiceProcess,
    inference: ServiceProcess,
    models: ModelsClient<Channel>,
    token: String,
    user_id: String,
    _folder: tempfile::TempDir,
}

impl Operated {
    async fn start(upstream: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut environment: BTreeMap<String, String> = [
            ("TOLLGATE_DATA_DIR", folder.path().join("data").to_string_lossy().into_owned()),
            ("TOLLGATE_ENGINE", "ollama".to_owned()),
            ("OLLAMA_HOST", upstream.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let made = run("auth-service", &["create-admin", "root"], &environment, &format!("{PASSWORD}\n"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let auth = ServiceProcess::start("auth-service", &environment);
        environment.insert("TOLLGATE_AUTH_URL".to_owned(), auth.url());
        let inference = ServiceProcess::start("inference-service", &environment);
        let mut accounts = AccountsClient::new(channel(auth.address()));
        let login = LoginRequest { user_name: "root".into(), password: PASSWORD.into(), ..Default::default() };
        let token = accounts.login(login).await.unwrap().into_inner().access_token;
        let user_id = accounts.get_me(bearer(&token, GetMeRequest {})).await.unwrap().into_inner().user.unwrap().user_id;
        let models = ModelsClient::new(channel(inference.address()));
        Self { _auth: auth, inference, models, token, user_id, _folder: folder }
    }

    /// Makes a model, to its end; whether that is a good one.
    async fn create(&mut self, model: &str, modelfile: &str) -> bool {
        let request = CreateModelRequest { model: model.into(), modelfile: modelfile.into() };
        let Ok(answer) = self.models.create_model(bearer(&self.token, request)).await else { return false };
        let mut stream = answer.into_inner();
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// The lines of the audit trail: action, model, outcome and reason, once there are so many.
    async fn trail(&self, lines: usize) -> Vec<[String; 4]> {
        let all = until("the audit trail", SOON, || async {
            let log = self.inference.log();
            let lines_now: Vec<Value> =
                log.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(|line: &Value| line["target"] == "audit").collect();
            (lines_now.len() >= lines).then_some(lines_now)
        })
        .await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for line in &all {
            assert_eq!(line["actor"], json!(self.user_id), "{line}");
            assert!(line.to_string().contains("request_id"), "{line}");
        }
        all.iter().map(|line| ["action", "model", "outcome", "reason"].map(|name| text(&line[name]))).collect()
    }
}

fn line(parts: [&str; 4]) -> [String; 4] {
    parts.map(str::to_owned)
}

#[tokio::test]
async fn operators_changes_of_models_are_in_the_trail_with_who_and_how_they_ended() {
    let upstream = ScriptedUpstream::start().await;
    let mut operated = Operated::start(&upstream.url()).await;
    assert!(operated.create("Library/mario:latest", "FROM smollm2\n").await);
    assert!(!operated.create("mario", "FROM smollm2\nPARAMETER temprature 1\n").await);
    assert!(!operated.create("mario", "FROM nothing-like-it\n").await);
    assert!(!operated.create("not a\nname", "FROM smollm2\n").await);
    let delete = |operated: &Operated, model: &str| bearer(&operated.token, DeleteModelRequest { model: model.into() });
    let (first, again) = (delete(&operated, "mario:local"), delete(&operated, "mario"));
    operated.models.delete_model(first).await.unwrap();
    operated.models.delete_model(again).await.unwrap_err();
    let trail = operated.trail(6).await;
    let expected = [
        ["create_model", "mario", "success", ""],
        ["create_model", "mario", "failure", "INVALID_ARGUMENT"],
        ["create_model", "mario", "failure", "INVALID_ARGUMENT"],
        ["create_model", "not a\\nname", "failure", "INVALID_ARGUMENT"],
        ["delete_model", "mario", "success", ""],
        ["delete_model", "mario", "failure", "MODEL_NOT_FOUND"],
    ];
    assert_eq!(trail, expected.map(line));
}

#[tokio::test]
async fn a_change_that_breaks_or_is_cut_off_is_in_the_trail_once() {
    let upstream = ScriptedUpstream::start().await;
    let mut operated = Operated::start(&upstream.url()).await;
    let step = || Script::stream().line(&json!({ "status": "writing manifest" }));
    let request = || CreateModelRequest { model: "mario".into(), modelfile: "FROM smollm2\n".into() };
    // Breaks after its first step.
    upstream.script_once("/api/create", step().error_line("no space left on device"));
    assert!(!operated.create("mario", "FROM smollm2\n").await);
    assert_eq!(operated.trail(1).await, [line(["create_model", "mario", "failure", "UPSTREAM_UNAVAILABLE"])]);
    // The operator goes away after the first step.
    upstream.script_once("/api/create", step().stall());
    let mut stream = operated.models.create_model(bearer(&operated.token, request())).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    drop(stream);
    assert_eq!(operated.trail(2).await.last().unwrap(), &line(["create_model", "mario", "cut off", ""]));
    // The operator's deadline passes.
    upstream.script_once("/api/create", step().stall());
    let mut late = bearer(&operated.token, request());
    late.set_timeout(Duration::from_secs(5));
    let mut stream = operated.models.create_model(late).await.unwrap().into_inner();
    while let Ok(Some(_)) = stream.message().await {}
    assert_eq!(operated.trail(3).await.last().unwrap(), &line(["create_model", "mario", "cut off", ""]));
    assert_eq!(operated.trail(3).await.len(), 3, "one line for each");
}
