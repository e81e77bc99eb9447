//! The second factor through the doors: who is asked for a code, when, and what an operator's change needs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use auth_service::store::clock::Clock;
use prost::Message;
use prost_types::FileDescriptorSet;
use prost_types::method_options::IdempotencyLevel;
use serde_json::{Value, json};
use shared::ErrorReason;
use shared::credential_form::to_bearer;
use shared::doors::openapi::descriptor_set;
use shared::proto::auth as pb;
use tonic::{Code, Status};

use crate::http::*;
use crate::support::*;

const MINUTE_MS: i64 = 60_000;
const JSON: (&str, &str) = ("content-type", "application/json");

/// A clock of the store that the test moves, from now on: access tokens go by the host's.
pub(crate) fn clock() -> (Clock, Arc<AtomicI64>) {
    Clock::fixed(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
}

/// An authenticator app, whose clock is the store's.
pub(crate) struct App {
    pub(crate) totp: totp_rs::Totp,
    pub(crate) hand: Arc<AtomicI64>,
    pub(crate) recovery_codes: Vec<String>,
}

impl App {
    pub(crate) fn shown(&self) -> String {
        self.totp.generate(self.hand.load(Ordering::SeqCst) as u64 / 1000).to_string()
    }

    /// The next code, once its time has come.
    pub(crate) fn next(&self) -> String {
        self.pass(30_000);
        self.shown()
    }

    fn pass(&self, ms: i64) {
        self.hand.fetch_add(ms, Ordering::SeqCst);
    }

    /// One that is never shown within an hour.
    pub(crate) fn wrong(&self) -> String {
        let now = self.hand.load(Ordering::SeqCst) as u64 / 1000;
        let shown: Vec<String> = (0..240).map(|step| self.totp.generate(now - 3600 + step * 30).to_string()).collect();
        (0..1000).map(|number| format!("{number:06}")).find(|code| !shown.contains(code)).unwrap()
    }
}

impl Server {
    /// Turns the second factor on for whoever has this token; the app's next code is good.
    pub(crate) async fn enroll(&mut self, token: &str, hand: &Arc<AtomicI64>) -> App {
        let begin = pb::BeginTotpRequest { password: PASSWORD.into() };
        let begun = self.accounts.begin_totp(with(token, begin)).await.unwrap().into_inner();
        let secret = totp_rs::Secret::try_from_base32(&begun.totp_secret).unwrap();
        assert!(begun.otpauth_uri.starts_with("otpauth://totp/Tollgate:") && begun.otpauth_uri.contains(&begun.totp_secret));
        let mut app =
            App { totp: totp_rs::Builder::new().with_secret(secret).build().unwrap(), hand: Arc::clone(hand), recovery_codes: Vec::new() };
        let confirm = pb::ConfirmTotpRequest { second_factor_code: app.shown() };
        app.recovery_codes = self.accounts.confirm_totp(with(token, confirm)).await.unwrap().into_inner().recovery_codes;
        app.pass(30_000);
        app
    }

    async fn log_in_with(&mut self, name: &str, password: &str, code: &str) -> Result<pb::LoginResponse, Status> {
        let request =
            pb::LoginRequest { user_name: name.into(), password: password.into(), second_factor_code: code.into(), ..Default::default() };
        Ok(self.accounts.login(request).await?.into_inner())
    }

    async fn step_up(&mut self, token: &str, code: &str) -> Result<pb::StepUpResponse, Status> {
        Ok(self.accounts.step_up(with(token, pb::StepUpRequest { second_factor_code: code.into() })).await?.into_inner())
    }

    async fn factor(&mut self, token: &str) -> pb::GetSecondFactorResponse {
        self.accounts.get_second_factor(with(token, pb::GetSecondFactorRequest {})).await.unwrap().into_inner()
    }
}

fn assert_is<T: std::fmt::Debug>(answer: Result<T, Status>, reason: ErrorReason) -> Status {
    let code = match reason {
        ErrorReason::SecondFactorRequired | ErrorReason::SecondFactorInvalid | ErrorReason::LoginFailed => Code::Unauthenticated,
        ErrorReason::StepUpRequired | ErrorReason::RecentSignInRequired => Code::PermissionDenied,
        ErrorReason::SecondFactorNotSetUp => Code::FailedPrecondition,
        ErrorReason::SecondFactorSetUp => Code::AlreadyExists,
        ErrorReason::RateLimited => Code::ResourceExhausted,
        other => panic!("{other:?}"),
    };
    assert_refused(answer, code, reason)
}

#[tokio::test]
async fn a_password_log_in_needs_a_code_once_there_is_a_second_factor_and_only_after_the_right_password() {
    let (clock, hand) = clock();
    let mut server = start_at(&[], clock).await;
    let ada = server.user("ada").await;
    server.sign_up("bob").await;
    assert_eq!(server.factor(&ada).await, pb::GetSecondFactorResponse::default());
    let app = server.enroll(&ada, &hand).await;
    let factor = server.factor(&ada).await;
    assert!(factor.enabled && factor.enabled_at.is_some() && factor.proved_at.is_some() && factor.recovery_codes_left == 10);
    assert_is(server.log_in_with("ada", PASSWORD, "").await, ErrorReason::SecondFactorRequired);
    assert_is(server.log_in_with("ada", PASSWORD, &app.wrong()).await, ErrorReason::SecondFactorInvalid);
    // With a wrong password nobody learns whether there is one, whatever code comes with it.
    let shown = app.shown();
    let mut said = Vec::new();
    for (name, code) in [("ada", ""), ("ada", shown.as_str()), ("bob", ""), ("bob", "123456"), ("nobody", "123456"), ("nobody", "")] {
        let refused = assert_is(server.log_in_with(name, "a wrong password", code).await, ErrorReason::LoginFailed);
        said.push((refused.message().to_owned(), refused.details().to_vec()));
    }
    said.dedup();
    assert_eq!(said.len(), 1, "one answer for all of them: {said:?}");
    let spaced = format!("{} {}", &shown[..3], &shown[3..]);
    let signed_in = server.log_in_with("ada", PASSWORD, &spaced).await.unwrap();
    assert_is(server.log_in_with("ada", PASSWORD, &shown).await, ErrorReason::SecondFactorInvalid);
    let list = with(&signed_in.access_token, pb::ListSessionsRequest {});
    let sessions = server.accounts.list_sessions(list).await.unwrap().into_inner().sessions;
    assert!(sessions.iter().all(|session| session.second_factor_at.is_some()), "the list says when: {sessions:?}");
    // Where there is none, a code is not looked at.
    server.log_in_with("bob", PASSWORD, "123456").await.unwrap();
}

#[tokio::test]
async fn a_recovery_code_signs_in_once_and_new_ones_take_the_place_of_all_before() {
    let (clock, hand) = clock();
    let mut server = start_at(&[], clock).await;
    let ada = server.user("ada").await;
    let app = server.enroll(&ada, &hand).await;
    let one = app.recovery_codes[0].to_uppercase().replace('-', " ");
    let signed_in = server.log_in_with("ada", PASSWORD, &one).await.unwrap();
    assert_is(server.log_in_with("ada", PASSWORD, &app.recovery_codes[0]).await, ErrorReason::SecondFactorInvalid);
    assert_eq!(server.factor(&signed_in.access_token).await.recovery_codes_left, 9);
    let anew = pb::CreateRecoveryCodesRequest { second_factor_code: app.shown() };
    let anew = server.accounts.create_recovery_codes(with(&ada, anew)).await.unwrap().into_inner().recovery_codes;
    assert_eq!((anew.len(), server.factor(&ada).await.recovery_codes_left), (10, 10));
    assert_is(server.log_in_with("ada", PASSWORD, &app.recovery_codes[1]).await, ErrorReason::SecondFactorInvalid);
    server.log_in_with("ada", PASSWORD, &anew[9]).await.unwrap();
}

#[tokio::test]
async fn enrolling_needs_the_password_and_turning_it_off_a_code() {
    let (clock, hand) = clock();
    let mut server = start_at(&[], clock).await;
    let ada = server.user("ada").await;
    let begin = |password: &str| pb::BeginTotpRequest { password: password.into() };
    assert_is(server.accounts.begin_totp(with(&ada, begin("not the password"))).await, ErrorReason::LoginFailed);
    assert_is(server.accounts.begin_totp(with(&ada, begin(""))).await, ErrorReason::LoginFailed);
    let confirm = |code: &str| pb::ConfirmTotpRequest { second_factor_code: code.into() };
    assert_is(server.accounts.confirm_totp(with(&ada, confirm("123456"))).await, ErrorReason::SecondFactorNotSetUp);
    assert_is(server.step_up(&ada, "123456").await, ErrorReason::SecondFactorNotSetUp);
    let app = server.enroll(&ada, &hand).await;
    assert_is(server.accounts.begin_totp(with(&ada, begin(PASSWORD))).await, ErrorReason::SecondFactorSetUp);
    assert_is(server.accounts.confirm_totp(with(&ada, confirm(&app.shown()))).await, ErrorReason::SecondFactorSetUp);
    let remove = |code: &str| pb::RemoveTotpRequest { second_factor_code: code.into() };
    assert_is(server.accounts.remove_totp(with(&ada, remove(&app.wrong()))).await, ErrorReason::SecondFactorInvalid);
    assert_eq!(violated(server.accounts.remove_totp(with(&ada, remove(""))).await), ["second_factor_code"]);
    server.accounts.remove_totp(with(&ada, remove(&app.shown()))).await.unwrap();
    assert_eq!(server.factor(&ada).await, pb::GetSecondFactorResponse::default());
    server.log_in_with("ada", PASSWORD, "").await.unwrap();
    // An API key has no say in it, whatever its scopes.
    let key = server.key(&ada, pb::CreateApiKeyRequest::default()).await.key;
    let refused = server.accounts.begin_totp(with(&key, begin(PASSWORD))).await;
    assert_refused(refused, Code::PermissionDenied, ErrorReason::AccessTokenRequired);
    let refused = server.accounts.get_second_factor(with(&key, pb::GetSecondFactorRequest {})).await;
    assert_refused(refused, Code::PermissionDenied, ErrorReason::AccessTokenRequired);
}

/// The reason of a refusal in Connect's form.
fn reason(reply: &Reply) -> String {
    let json: Value = reply.json();
    let info =
        json["details"].as_array().and_then(|details| details.iter().find(|detail| detail["type"] == "google.rpc.ErrorInfo").cloned());
    info.unwrap_or_default()["debug"]["reason"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn every_door_that_takes_a_password_takes_the_code_beside_it() {
    let (clock, hand) = clock();
    let mut server = start_at(&[], clock).await;
    let (ada, operator) = (server.user("ada").await, server.operator().await);
    let app = server.enroll(&ada, &hand).await;
    let grant = |code: &str| format!("grant_type=password&username=ada&password={}&second_factor_code={code}", PASSWORD.replace(' ', "+"));
    for (code, said) in [(String::new(), "SECOND_FACTOR_REQUIRED"), (app.wrong(), "SECOND_FACTOR_INVALID")] {
        let refused = http(server.address, "POST /token", &[FORM], &grant(&code)).await;
        let found = (refused.status, refused.text("error"), refused.text("code"));
        assert_eq!(found, (400, "invalid_grant".to_owned(), said.to_owned()), "{}", refused.body);
    }
    assert_eq!(http(server.address, "POST /token", &[FORM], &grant(&app.shown())).await.status, 200);

    let page = [JSON, ("origin", "http://tollgate")];
    let body = |code: &str| json!({ "user_name": "ada", "password": PASSWORD, "second_factor_code": code }).to_string();
    let without = json!({ "user_name": "ada", "password": PASSWORD }).to_string();
    for (body, said) in [(without, "SECOND_FACTOR_REQUIRED"), (body(&app.wrong()), "SECOND_FACTOR_INVALID")] {
        let refused = http(server.address, "POST /account/session", &page, &body).await;
        assert_eq!((refused.status, reason(&refused).as_str(), refused.header("set-cookie")), (401, said, ""), "{}", refused.body);
    }
    let signed_in = http(server.address, "POST /account/session", &page, &body(&app.next())).await;
    assert!(signed_in.status == 200 && !signed_in.header("set-cookie").is_empty(), "{}", signed_in.body);

    // An operator's reset of the password lets nobody past the second factor.
    let reset = with(&operator, pb::ResetPasswordRequest { user_name: "ada".into() });
    let one_time = server.admin.reset_password(reset).await.unwrap().into_inner().one_time_password;
    let choose = |code: &str| {
        let new = "another pass phrase of mine";
        json!({ "user_name": "ada", "one_time_password": one_time, "new_password": new, "second_factor_code": code }).to_string()
    };
    for (code, said) in [(String::new(), "SECOND_FACTOR_REQUIRED"), (app.wrong(), "SECOND_FACTOR_INVALID")] {
        let refused = http(server.address, "POST /account/session/reset", &page, &choose(&code)).await;
        assert_eq!(reason(&refused), said, "{}", refused.body);
        let request = pb::CompletePasswordResetRequest {
            user_name: "ada".into(),
            one_time_password: one_time.clone(),
            new_password: "another pass phrase of mine".into(),
            second_factor_code: code,
            ..Default::default()
        };
        let refused = server.accounts.complete_password_reset(request).await.unwrap_err();
        assert!(shared::error::reason_of(&refused).is_some_and(|reason| reason.as_str_name().ends_with(said)), "{refused:?}");
    }
    assert_eq!(http(server.address, "POST /account/session/reset", &page, &choose(&app.next())).await.status, 200);
}

#[tokio::test]
async fn wrong_codes_are_throttled_by_user_on_all_doors_and_whoever_lacks_the_password_makes_nobody_wait() {
    let (clock, hand) = clock();
    let mut server = start_at(&[], clock).await;
    let ada = server.user("ada").await;
    let app = server.enroll(&ada, &hand).await;
    // Guesses without the password, from elsewhere, more than any count lets through.
    let mut elsewhere = server.accounts_from(IpAddr::from([127, 0, 0, 2])).await;
    for number in 0..20 {
        let guess = pb::LoginRequest {
            user_name: "ada".into(),
            password: format!("a wrong guess, number {number}"),
            second_factor_code: app.wrong(),
            ..Default::default()
        };
        elsewhere.login(guess).await.unwrap_err();
    }
    let signed_in = server.log_in_with("ada", PASSWORD, &app.next()).await.unwrap();
    // With it, from anywhere and by any door, five in a row.
    for number in 0..5 {
        let address = IpAddr::from([127, 0, 0, 10 + number]);
        let mut there = server.accounts_from(address).await;
        let guess =
            pb::LoginRequest { user_name: "ada".into(), password: PASSWORD.into(), second_factor_code: app.wrong(), ..Default::default() };
        let refused =
            if number % 2 == 0 { there.login(guess).await.map(|_| ()) } else { server.step_up(&ada, &app.wrong()).await.map(|_| ()) };
        assert_is(refused, ErrorReason::SecondFactorInvalid);
    }
    let refused = assert_is(server.log_in_with("ada", PASSWORD, &app.shown()).await, ErrorReason::RateLimited);
    assert!(shared::error::retry_delay_of(&refused).is_some(), "it says when to come again");
    assert_is(server.step_up(&signed_in.access_token, &app.shown()).await, ErrorReason::RateLimited);
    let grant = format!("grant_type=password&username=ada&password={}&second_factor_code={}", PASSWORD.replace(' ', "+"), app.shown());
    assert_eq!(http(server.address, "POST /token", &[FORM], &grant).await.status, 429);
    // A recovery code isn't kept waiting by others' guesses.
    server.log_in_with("ada", PASSWORD, &app.recovery_codes[0]).await.unwrap();
    server.log_in_with("ada", PASSWORD, &app.next()).await.unwrap();
}

#[tokio::test]
async fn wrong_codes_with_the_right_password_count_as_failed_log_ins_each_of_them() {
    let (clock, hand) = clock();
    let mut server = start_at(&[], clock).await;
    let ada = server.user("ada").await;
    let app = server.enroll(&ada, &hand).await;
    let mut elsewhere = server.accounts_from(IpAddr::from([127, 0, 0, 3])).await;
    for number in 0..5 {
        let guess = pb::LoginRequest {
            user_name: "ada".into(),
            password: PASSWORD.into(),
            second_factor_code: format!("{number}"),
            ..Default::default()
        };
        assert_is(elsewhere.login(guess).await, ErrorReason::SecondFactorInvalid);
    }
    // The right one ends the user's own wait, and not that of the network that guessed.
    server.log_in_with("ada", PASSWORD, &app.recovery_codes[0]).await.unwrap();
    let again =
        pb::LoginRequest { user_name: "ada".into(), password: PASSWORD.into(), second_factor_code: app.next(), ..Default::default() };
    assert_is(elsewhere.login(again).await, ErrorReason::RateLimited);
    server.log_in_with("ada", PASSWORD, &app.shown()).await.unwrap();
}

/// The methods of Admin by what they do: those that change something, and those that read.
fn admin_methods() -> (Vec<String>, Vec<String>) {
    let set = FileDescriptorSet::decode(&*descriptor_set()).unwrap();
    let services = set.file.iter().filter(|file| file.package() == "tollgate.auth.v1").flat_map(|file| &file.service);
    let methods = services.filter(|service| service.name() == "Admin").flat_map(|service| &service.method);
    let reads = |method: &&prost_types::MethodDescriptorProto| {
        method.options.as_ref().is_some_and(|options| options.idempotency_level() == IdempotencyLevel::NoSideEffects)
    };
    let (reads, changes): (Vec<_>, Vec<_>) = methods.partition(reads);
    let names = |methods: Vec<&prost_types::MethodDescriptorProto>| methods.iter().map(|method| method.name().to_owned()).collect();
    (names(changes), names(reads))
}

#[tokio::test]
async fn every_operators_change_needs_a_second_factor_of_the_last_fifteen_minutes_where_that_is_required() {
    let (clock, hand) = clock();
    let mut server = start_at(&[("TOLLGATE_REQUIRE_ADMIN_TOTP", "true")], clock).await;
    let operator = server.operator().await;
    let (changes, reads) = admin_methods();
    assert!(changes.len() >= 8 && reads.contains(&"ListUsers".to_owned()), "{changes:?} {reads:?}");
    let call = async |server: &Server, method: &str, token: &str| {
        let bearer = to_bearer(token);
        http(server.address, &format!("POST /tollgate.auth.v1.Admin/{method}"), &[JSON, ("authorization", &bearer)], "{}").await
    };
    // Whatever is added to Admin later is in the list: a method that forgets it fails here.
    let refused_at_all = async |server: &Server, token: &str, expected: &str| {
        for method in &changes {
            let reply = call(server, method, token).await;
            let is_step_up = reason(&reply) == "STEP_UP_REQUIRED";
            assert_eq!(is_step_up, expected == "STEP_UP_REQUIRED", "{method}: {}", reply.body);
            assert!(!is_step_up || reply.status == 403, "{method}");
        }
        for method in &reads {
            assert_ne!(reason(&call(server, method, token).await), "STEP_UP_REQUIRED", "{method} only reads");
        }
    };
    let manage = |credential: &str| pb::CheckRequest {
        credential: credential.into(),
        operation: pb::Operation::ManageModels.into(),
        model: "tiny".into(),
        ..Default::default()
    };
    refused_at_all(&server, &operator, "STEP_UP_REQUIRED").await;
    assert_is(server.check(manage(&operator)).await, ErrorReason::StepUpRequired);
    let lock = || pb::LockUserRequest { user_name: "template".into(), reason: String::new() };
    assert_is(server.admin.lock_user(with(&operator, lock())).await, ErrorReason::StepUpRequired);

    // Proved when it is set up, for fifteen minutes by the store's clock.
    let app = server.enroll(&operator, &hand).await;
    refused_at_all(&server, &operator, "").await;
    server.admin.lock_user(with(&operator, lock())).await.unwrap();
    server.check(manage(&operator)).await.unwrap();
    app.pass(15 * MINUTE_MS);
    refused_at_all(&server, &operator, "STEP_UP_REQUIRED").await;
    assert_is(server.check(manage(&operator)).await, ErrorReason::StepUpRequired);
    let good_until = server.step_up(&operator, &app.shown()).await.unwrap().good_until.unwrap();
    assert_eq!(good_until.seconds, (app.hand.load(Ordering::SeqCst) + 15 * MINUTE_MS) / 1000);
    refused_at_all(&server, &operator, "").await;

    // A log-in with a code has proved it; an API key can't, though its user has.
    let signed_in = server.log_in_with("operator", PASSWORD, &app.next()).await.unwrap();
    refused_at_all(&server, &signed_in.access_token, "").await;
    let wanted = pb::CreateApiKeyRequest { scopes: vec!["models".into()], ..Default::default() };
    let key = server.key(&signed_in.access_token, wanted).await.key;
    assert_is(server.check(manage(&key)).await, ErrorReason::StepUpRequired);
    // A refresh keeps what was proved, and prolongs nothing.
    app.pass(10 * MINUTE_MS);
    let refresh = pb::RefreshRequest { refresh_token: signed_in.refresh_token };
    let refreshed = server.accounts.refresh(refresh).await.unwrap().into_inner().access_token;
    refused_at_all(&server, &refreshed, "").await;
    app.pass(5 * MINUTE_MS);
    refused_at_all(&server, &refreshed, "STEP_UP_REQUIRED").await;
    // Once it is off, nothing that it proved counts.
    server.step_up(&refreshed, &app.shown()).await.unwrap();
    let remove = pb::RemoveTotpRequest { second_factor_code: app.next() };
    server.accounts.remove_totp(with(&refreshed, remove)).await.unwrap();
    refused_at_all(&server, &refreshed, "STEP_UP_REQUIRED").await;
}

#[tokio::test]
async fn an_operators_change_of_an_organization_of_others_needs_it_too_and_an_owners_does_not() {
    let (clock, hand) = clock();
    let mut server = start_at(&[("TOLLGATE_REQUIRE_ADMIN_TOTP", "true")], clock).await;
    let (ada, operator) = (server.user("ada").await, server.operator().await);
    let bob = server.sign_up("bob").await.user_id;
    let create = with(&ada, pb::CreateOrganizationRequest { name: "physics".into() });
    let account = server.accounts.create_organization(create).await.unwrap().into_inner().organization.unwrap().account_id;
    let call = async |server: &Server, method: &str, token: &str, more: Value| {
        let mut body = json!({ "account_id": account });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let bearer = to_bearer(token);
        let path = format!("POST /tollgate.auth.v1.Accounts/{method}");
        http(server.address, &path, &[JSON, ("authorization", &bearer)], &body.to_string()).await
    };
    let changes = [
        ("AddMember", json!({ "user_name": "bob", "role": "MEMBER_ROLE_MEMBER" })),
        ("SetMemberRole", json!({ "user_id": bob, "role": "MEMBER_ROLE_OWNER" })),
        ("SetMemberCap", json!({ "user_id": bob, "monthly_cap_credits": "5" })),
        ("InviteMember", json!({ "role": "MEMBER_ROLE_MEMBER" })),
        ("CreateServiceAccount", json!({ "name": "nightly" })),
        ("RemoveMember", json!({ "user_id": bob })),
    ];
    for (method, more) in &changes {
        let refused = call(&server, method, &operator, more.clone()).await;
        assert_eq!((refused.status, reason(&refused).as_str()), (403, "STEP_UP_REQUIRED"), "{method}: {}", refused.body);
    }
    assert_ne!(reason(&call(&server, "ListMembers", &operator, json!({})).await), "STEP_UP_REQUIRED", "it only reads");
    for (method, more) in &changes {
        let answer = call(&server, method, &ada, more.clone()).await;
        assert_eq!(answer.status, 200, "{method} by an owner: {}", answer.body);
    }
    server.enroll(&operator, &hand).await;
    for (method, more) in &changes {
        let answer = call(&server, method, &operator, more.clone()).await;
        // A service account of that name is there by now.
        assert!(answer.status == 200 || *method == "CreateServiceAccount", "{method}: {}", answer.body);
        assert_ne!(reason(&answer), "STEP_UP_REQUIRED", "{method}");
    }
}

#[tokio::test]
async fn an_operator_is_told_what_a_token_is_without_a_second_factor_where_that_is_required_for_changes() {
    let mut server = start_with(&[("TOLLGATE_REQUIRE_ADMIN_TOTP", "true")]).await;
    let (ada, operator) = (server.user("ada").await, server.operator().await);
    let lock = pb::LockUserRequest { user_name: "ada".into(), reason: String::new() };
    assert_is(server.admin.lock_user(with(&operator, lock)).await, ErrorReason::StepUpRequired);
    let bearer = to_bearer(&operator);
    let answer = http(server.address, "POST /introspect", &[FORM, ("authorization", &bearer)], &format!("token={ada}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = answer.json();
    assert_eq!((&said["active"], &said["username"]), (&json!(true), &json!("ada")), "{said}");
    // Who is no operator is told nothing, whatever is required.
    let refused = http(server.address, "POST /introspect", &[FORM, ("authorization", &to_bearer(&ada))], &format!("token={ada}")).await;
    assert!(refused.status >= 400, "{refused:?}");
}

#[tokio::test]
async fn an_operators_change_needs_no_second_factor_where_it_is_not_required() {
    let mut server = start().await;
    let operator = server.operator().await;
    server.admin.lock_user(with(&operator, pb::LockUserRequest { user_name: "template".into(), reason: String::new() })).await.unwrap();
}

#[tokio::test]
async fn an_operator_resets_a_lost_second_factor_and_it_ends_the_users_sessions() {
    let (clock, hand) = clock();
    let mut server = start_at(&[], clock).await;
    let (ada, operator) = (server.user("ada").await, server.operator().await);
    server.enroll(&ada, &hand).await;
    let reset = |name: &str| pb::ResetSecondFactorRequest { user_name: name.into() };
    let refused = server.admin.reset_second_factor(with(&ada, reset("ada"))).await;
    assert_refused(refused, Code::PermissionDenied, ErrorReason::RoleRequired);
    let own = server.admin.reset_second_factor(with(&operator, reset("operator"))).await;
    assert_refused(own, Code::FailedPrecondition, ErrorReason::OtherOperatorRequired);
    for _ in 0..2 {
        let user = server.admin.reset_second_factor(with(&operator, reset("ada"))).await.unwrap().into_inner().user.unwrap();
        assert_eq!(user.user_name, "ada");
    }
    assert_refused(server.balance(&ada).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    server.log_in_with("ada", PASSWORD, "").await.unwrap();
}
