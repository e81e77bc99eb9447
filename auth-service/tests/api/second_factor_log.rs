//! What the audit log has of a second factor.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use auth_service::store::AuditAction;
use shared::proto::auth as pb;

use crate::audit::Follower;
use crate::second_factor::App;
use crate::support::*;

const HOUR_MS: i64 = 3_600_000;

/// For the test of the audit log: each action of a second factor, when it works and when it fails.
pub(crate) async fn each_action_is_recorded(server: &mut Server, log: &mut Follower, hand: &Arc<AtomicI64>) {
    use AuditAction as A;
    // Behind what other processes have recorded by their own clock.
    hand.fetch_add(HOUR_MS, Ordering::SeqCst);
    let cleo = server.user("cleo").await;
    let operator = log.operator.clone();
    log.events(server).await;
    let begin = |password: &str| pb::BeginTotpRequest { password: password.into() };
    server.accounts.begin_totp(log.ask(&cleo, begin("not the password"))).await.unwrap_err();
    log.one(server, A::BeginSecondFactor, "LOGIN_FAILED").await;
    let begun = server.accounts.begin_totp(log.ask(&cleo, begin(PASSWORD))).await.unwrap().into_inner();
    let event = log.one(server, A::BeginSecondFactor, "").await;
    assert_eq!((event.actor_name.as_str(), event.subject_name.as_str(), event.detail.as_str()), ("cleo", "cleo", ""));
    let secret = totp_rs::Secret::try_from_base32(&begun.totp_secret).unwrap();
    let mut app =
        App { totp: totp_rs::Builder::new().with_secret(secret).build().unwrap(), hand: Arc::clone(hand), recovery_codes: Vec::new() };

    let confirm = |code: String| pb::ConfirmTotpRequest { second_factor_code: code };
    server.accounts.confirm_totp(log.ask(&cleo, confirm(app.wrong()))).await.unwrap_err();
    log.one(server, A::EnableSecondFactor, "SECOND_FACTOR_INVALID").await;
    app.recovery_codes = server.accounts.confirm_totp(log.ask(&cleo, confirm(app.shown()))).await.unwrap().into_inner().recovery_codes;
    assert_eq!(log.one(server, A::EnableSecondFactor, "").await.detail, "with a code of the app");

    let login = |code: &str| pb::LoginRequest {
        user_name: "cleo".into(),
        password: PASSWORD.into(),
        second_factor_code: code.into(),
        ..Default::default()
    };
    for (code, failure) in [(String::new(), "SECOND_FACTOR_REQUIRED"), (app.wrong(), "SECOND_FACTOR_INVALID")] {
        server.accounts.login(log.ask("", login(&code))).await.unwrap_err();
        assert_eq!(log.one(server, A::SignIn, failure).await.subject_name, "cleo");
    }
    let signed_in = server.accounts.login(log.ask("", login(&app.recovery_codes[0]))).await.unwrap().into_inner();
    let events = log.events(server).await;
    let mut seen: Vec<_> = events.iter().map(|event| (event.action.as_str(), event.detail.as_str(), event.subject_id.as_str())).collect();
    seen.sort_unstable();
    let detail = "with a recovery code; 9 are left";
    assert_eq!(seen[0], ("sign_in", detail, signed_in.session_id.as_str()));
    assert_eq!((seen[1].0, seen[1].2, seen.len()), ("use_recovery_code", signed_in.session_id.as_str(), 2));
    log.worked.insert("use_recovery_code");

    let step_up = |code: String| pb::StepUpRequest { second_factor_code: code };
    server.accounts.step_up(log.ask(&cleo, step_up(app.wrong()))).await.unwrap_err();
    log.one(server, A::StepUp, "SECOND_FACTOR_INVALID").await;
    server.accounts.step_up(log.ask(&cleo, step_up(app.next()))).await.unwrap();
    assert_eq!(log.one(server, A::StepUp, "").await.actor_name, "cleo");
    let anew = |code: String| pb::CreateRecoveryCodesRequest { second_factor_code: code };
    server.accounts.create_recovery_codes(log.ask(&cleo, anew(app.wrong()))).await.unwrap_err();
    log.one(server, A::CreateRecoveryCodes, "SECOND_FACTOR_INVALID").await;
    server.accounts.create_recovery_codes(log.ask(&cleo, anew(app.next()))).await.unwrap();
    log.one(server, A::CreateRecoveryCodes, "").await;
    let remove = |code: String| pb::RemoveTotpRequest { second_factor_code: code };
    server.accounts.remove_totp(log.ask(&cleo, remove(app.wrong()))).await.unwrap_err();
    log.one(server, A::DisableSecondFactor, "SECOND_FACTOR_INVALID").await;
    server.accounts.remove_totp(log.ask(&cleo, remove(app.next()))).await.unwrap();
    log.one(server, A::DisableSecondFactor, "").await;

    server.enroll(&cleo, hand).await;
    log.events(server).await;
    let reset = |name: &str| pb::ResetSecondFactorRequest { user_name: name.into() };
    server.admin.reset_second_factor(log.ask(&cleo, reset("operator"))).await.unwrap_err();
    assert_eq!(log.one(server, A::ResetSecondFactor, "ROLE_REQUIRED").await.actor_name, "cleo");
    let request = log.ask(&operator, reset("cleo"));
    server.admin.reset_second_factor(request).await.unwrap();
    let event = log.one(server, A::ResetSecondFactor, "").await;
    assert_eq!((event.actor_name.as_str(), event.subject_name.as_str()), ("operator", "cleo"));
}
