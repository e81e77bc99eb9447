//! Calls that are refused before anything is held, and calls that cost nothing.

use std::time::{Duration, SystemTime};

use integration::hostile_http1::HostileHttp1;
use integration::polling::{SOON, until};
use integration::process_pair::bearer;
use integration::raw_http2::{RawHttp2, prefixed};
use integration::stack::chat_request;
use prost::Message as _;
use shared::credential_form::to_bearer;
use shared::proto::auth::admin_client::AdminClient;
use shared::proto::auth::auth_client::AuthClient;
use shared::proto::inference::models_client::ModelsClient;
use shared::proto::{auth, inference};

use crate::ways::{ANSWERED, Way, ended, longest_id, told, way};

const REFUSALS: usize = 200;
const CHAT: &str = "/tollgate.inference.v1.Inference/Chat";

/// A chat that is refused for what it says, each number for another field.
fn refused_fields(number: usize) -> inference::ChatRequest {
    let mut request = chat_request("smollm2", "hi");
    let schema = |json: &str| Some(inference::Format { kind: Some(inference::format::Kind::JsonSchema(json.to_owned())) });
    match number % 10 {
        0 => request.model = "../etc/passwd".into(),
        1 => request.messages[0].role = "robot".into(),
        2 => request.options = Some(inference::Options { temperature: Some(-1.0), ..Default::default() }),
        3 => request.options = Some(inference::Options { num_ctx: Some(8193), ..Default::default() }),
        4 => request.request_id = "r".repeat(129),
        5 => request.format = schema(r#"{"type":"nosuchtype""#),
        6 => request.format = schema(&format!("{}{{}}{}", r#"{"not":"#.repeat(100), "}".repeat(100))),
        7 => request.tools.push(inference::Tool { name: "f".into(), parameters_json: "[".into(), ..Default::default() }),
        8 => request.messages = vec![inference::Message::default(); 5000],
        _ => request.max_output_tokens = Some(0),
    }
    request
}

/// Chats that never come to a hold.
pub(crate) fn refused() -> Vec<Way> {
    vec![
        way("refused fields and schemas", REFUSALS, &["INVALID_ARGUMENT"], |mut who, number| async move {
            ended(&who.inference.chat(bearer(&who.key, refused_fields(number))).await)
        }),
        way("what the model can't do", REFUSALS, &["MODEL_INCAPABLE"], |mut who, number| async move {
            let mut request = chat_request("smollm2", "hi");
            match number % 3 {
                0 => request.messages[0].images.push(include_bytes!("../../fixtures/pixel.png").to_vec()),
                1 => request.tools.push(inference::Tool { name: "f".into(), ..Default::default() }),
                _ => request.think = Some("on".into()),
            }
            ended(&who.inference.chat(bearer(&who.key, request)).await)
        }),
        way("a cloud model", REFUSALS, &["CLOUD_MODEL_NOT_ALLOWED"], |mut who, number| async move {
            ended(&who.inference.chat(bearer(&who.key, chat_request(&format!("model-{number}:cloud"), "hi"))).await)
        }),
        way("a prompt that costs more than there is", REFUSALS, &["INSUFFICIENT_CREDITS"], |mut who, number| async move {
            let request = inference::ChatRequest { request_id: format!("dear-{number}"), ..chat_request("dear", "hi") };
            ended(&who.inference.chat(bearer(&who.key, request)).await)
        }),
        way("a prompt that is too long", 10, &["MESSAGE_TOO_LARGE"], |who, _| async move {
            let body = prefixed(&chat_request("smollm2", &"x".repeat(33 << 20)).encode_to_vec());
            let call = RawHttp2::connect(who.addresses.inference).await;
            told(&call.call(CHAT, &[("authorization", &to_bearer(&who.key))], &body).await.status)
        }),
        way("another's account", REFUSALS, &["ACCOUNT_NOT_ALLOWED"], |mut who, number| async move {
            let mut request = bearer(&who.token, chat_request("smollm2", "hi"));
            request.metadata_mut().insert("x-tollgate-account", format!("{number:0>16}").parse().unwrap());
            ended(&who.inference.chat(request).await)
        }),
        way("embeddings of a model that has none", REFUSALS, &["MODEL_INCAPABLE", "INVALID_ARGUMENT"], |mut who, number| async move {
            let inputs = if number % 2 == 0 { vec!["hi".to_owned()] } else { Vec::new() };
            let request =
                inference::EmbedRequest { model: "painter".into(), inputs, request_id: format!("e-{number}"), ..Default::default() };
            ended(&who.inference.embed(bearer(&who.key, request)).await)
        }),
    ]
}

/// Deadlines that pass before the request goes upstream: held, and refunded.
pub(crate) fn late() -> Vec<Way> {
    let late = |name, calls, timeout: &'static str| {
        let way = way(name, calls, &["DEADLINE_EXCEEDED"], move |who, number| async move {
            let request = inference::ChatRequest { request_id: longest_id(number), ..chat_request("smollm2", "hi") };
            let body = prefixed(&request.encode_to_vec());
            let call = RawHttp2::connect(who.addresses.undispatched).await;
            told(&call.call(CHAT, &[("authorization", &to_bearer(&who.key)), ("grpc-timeout", timeout)], &body).await.status)
        });
        Way { callers: 1, ..way }
    };
    vec![late("a deadline that has passed", 1700, "1n"), late("a deadline before it is dispatched", 300, "25m")]
}

/// What costs nothing.
pub(crate) fn free() -> Vec<Way> {
    vec![
        way("ListModels and ShowModel", REFUSALS, &[ANSWERED, "MODEL_NOT_FOUND"], |mut who, number| async move {
            if number % 2 == 0 {
                return ended(&who.inference.list_models(bearer(&who.key, inference::ListModelsRequest {})).await);
            }
            let request = inference::ShowModelRequest { model: format!("missing-{number}") };
            ended(&who.inference.show_model(bearer(&who.key, request)).await)
        }),
        way("reading the account", REFUSALS, &[ANSWERED, "REQUEST_NOT_FOUND"], |mut who, number| async move {
            match number % 5 {
                0 => ended(&who.accounts.get_balance(bearer(&who.key, auth::GetBalanceRequest {})).await),
                1 => {
                    ended(&who.accounts.get_receipt(bearer(&who.key, auth::GetReceiptRequest { request_id: format!("r-{number}") })).await)
                }
                2 => ended(&who.accounts.list_ledger_entries(bearer(&who.key, auth::ListLedgerEntriesRequest::default())).await),
                3 => ended(&who.accounts.list_api_keys(bearer(&who.token, auth::ListApiKeysRequest {})).await),
                _ => ended(&who.accounts.get_me(bearer(&who.key, auth::GetMeRequest {})).await),
            }
        }),
        way("what would load or unload a model, and what is loaded", REFUSALS, &["200", "404"], |who, number| async move {
            let model = if number % 2 == 0 { "smollm2".to_owned() } else { format!("missing-{number}") };
            let body = serde_json::json!({ "model": model, "keep_alive": number % 3, "messages": [], "input": [] }).to_string();
            let (method, path) =
                [("POST", "/api/chat"), ("POST", "/api/generate"), ("POST", "/api/embed"), ("GET", "/api/ps")][number / 2 % 4];
            let mut client = HostileHttp1::connect(who.addresses.inference).await;
            client.call(method, path, &[("authorization", &to_bearer(&who.key))], body.as_bytes()).await.status.as_str().to_owned()
        }),
        way("what only operators and services may", REFUSALS, &["ROLE_REQUIRED", "SERVICE_CREDENTIAL_INVALID"], |who, number| async move {
            let (auth_service, inference_service) = (integration::stack::channel(who.addresses.auth), who.addresses.inference);
            match number % 4 {
                0 => {
                    let grant = auth::GrantCreditsRequest {
                        user_name: who.name,
                        credits: 1000,
                        request_id: format!("{number}"),
                        ..Default::default()
                    };
                    ended(&AdminClient::new(auth_service).grant_credits(bearer(&who.token, grant)).await)
                }
                1 => ended(&AuthClient::new(auth_service).check(bearer(&who.key, auth::CheckRequest::default())).await),
                2 => ended(&AuthClient::new(auth_service).settle(bearer(&who.token, auth::SettleRequest::default())).await),
                _ => {
                    let mut models = ModelsClient::new(integration::stack::channel(inference_service));
                    let request = inference::CreateModelRequest { model: format!("m-{number}"), modelfile: "FROM smollm2".into() };
                    ended(&models.create_model(bearer(&who.token, request)).await)
                }
            }
        }),
    ]
}

/// An API key with the longest list of models that there may be.
fn longest_key(expires_at: Option<SystemTime>) -> auth::CreateApiKeyRequest {
    auth::CreateApiKeyRequest {
        name: "\u{1d11e}".repeat(100),
        models: (0..8).map(|number| format!("host{number}.example/{}/{}*", "n".repeat(70), "m".repeat(40))).collect(),
        expires_at: expires_at.map(Into::into),
        ..Default::default()
    }
}

/// API keys: an account keeps some that are in force, some that were revoked, and some whose time is over.
pub(crate) fn api_keys() -> Vec<Way> {
    vec![
        way("API keys that end by themselves", 250, &[ANSWERED], |who, _| async move {
            // When there are as many as may be, there is room once the first have ended.
            until("an API key to be made", SOON, || {
                let (mut accounts, token) = (who.accounts.clone(), who.token.clone());
                async move {
                    let key = longest_key(Some(SystemTime::now() + Duration::from_secs(1)));
                    let made = accounts.create_api_key(bearer(&token, key)).await;
                    Some(ended(&made)).filter(|ended| ended == ANSWERED)
                }
            })
            .await
        }),
        way("API keys that are made and revoked", 250, &[ANSWERED], |mut who, _| async move {
            let made = match who.accounts.create_api_key(bearer(&who.token, longest_key(None))).await {
                Ok(made) => made.into_inner(),
                Err(status) => return told(&status),
            };
            let api_key_id = made.api_key.unwrap().api_key_id;
            ended(&who.accounts.revoke_api_key(bearer(&who.token, auth::RevokeApiKeyRequest { api_key_id, ..Default::default() })).await)
        }),
        way("API keys that are made", REFUSALS, &[ANSWERED, "LIMIT_REACHED"], |mut who, _| async move {
            ended(&who.accounts.create_api_key(bearer(&who.token, longest_key(None))).await)
        }),
    ]
}

/// Keys that may do something else.
pub(crate) fn other_keys() -> Vec<Way> {
    vec![way(
        "keys that lack the right",
        REFUSALS,
        &["MODEL_NOT_ALLOWED", "SCOPE_REQUIRED", "CREDENTIAL_REVOKED"],
        |mut who, number| async move {
            let fields = if number % 2 == 0 { (vec!["other".to_owned()], Vec::new()) } else { (Vec::new(), vec!["account".to_owned()]) };
            let request = auth::CreateApiKeyRequest { models: fields.0, scopes: fields.1, ..Default::default() };
            let made = who.accounts.create_api_key(bearer(&who.token, request)).await;
            let made = match made {
                Ok(made) => made.into_inner(),
                Err(status) => return told(&status),
            };
            let api_key_id = made.api_key.unwrap().api_key_id;
            if number % 3 == 0 {
                let _ = who
                    .accounts
                    .revoke_api_key(bearer(&who.token, auth::RevokeApiKeyRequest { api_key_id: api_key_id.clone(), ..Default::default() }))
                    .await;
            }
            let refused = ended(&who.inference.chat(bearer(&made.key, chat_request("smollm2", "hi"))).await);
            // Others change the account's keys at the same time, and may be quicker each time.
            let _ = who.accounts.revoke_api_key(bearer(&who.token, auth::RevokeApiKeyRequest { api_key_id, ..Default::default() })).await;
            refused
        },
    )]
}

/// Passwords that are guessed, by names that may be none. Comes last: the network has to wait after it.
pub(crate) fn guesses() -> Vec<Way> {
    vec![way("wrong passwords", 60, &["LOGIN_FAILED", "RATE_LIMITED"], |mut who, number| async move {
        let user_name = if number % 2 == 0 { who.name.clone() } else { format!("nobody{number}") };
        ended(
            &who.accounts
                .login(auth::LoginRequest { user_name, password: format!("a wrong password, number {number}"), ..Default::default() })
                .await,
        )
    })]
}
