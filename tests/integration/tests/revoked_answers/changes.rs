//! Every way to revoke something: what it ends, and what it doesn't.

use integration::process_pair::bearer;
use integration::stack::PASSWORD;
use shared::ErrorReason;
use shared::proto::auth;

use crate::moment::Moment;
use crate::stage::{AT_ONCE, CUT, PAYERS, Payer, Person, Stage, WHOLE};

/// Makes the changes, and the list of them.
macro_rules! changes {
    ($($change:ident),+ $(,)?) => {
        /// What is done to a user who has two keys and two sessions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Change {
            $($change),+
        }

        use Change::{$($change),+};

        const CHANGES: &[Change] = &[$($change),+];
    };
}

changes! {
    RevokeKey,
    Disable,
    Lock,
    Logout,
    RevokeSession,
    LogoutEverywhere,
    NewPassword,
    ResetPassword,
    ReuseRefreshToken,
    ShowLeakedRefreshToken,
    ShowLeakedKey,
    RevokeFirstSecret,
    RotateAtOnce,
    Rotate,
    Refresh,
    RevokeOthersKey,
    DisableAnother,
    CreateKey,
}

impl Change {
    /// Which of the user's answers it ends, and why.
    fn ends(self) -> (&'static [Payer], ErrorReason) {
        use Payer::{Key, Session};
        match self {
            RevokeKey | ShowLeakedKey | RevokeFirstSecret | RotateAtOnce => (&[Key(0)], ErrorReason::CredentialRevoked),
            Disable => (&PAYERS, ErrorReason::UserDisabled),
            Lock => (&[Session(0), Session(1)], ErrorReason::UserLocked),
            Logout | RevokeSession | NewPassword | ReuseRefreshToken | ShowLeakedRefreshToken => {
                (&[Session(0)], ErrorReason::CredentialRevoked)
            }
            LogoutEverywhere | ResetPassword => (&[Session(0), Session(1)], ErrorReason::CredentialRevoked),
            Rotate | Refresh | RevokeOthersKey | DisableAnother | CreateKey => (&[], ErrorReason::Unspecified),
        }
    }

    async fn make(self, stage: &Stage, user: &Person, another: &Person) {
        let (mut accounts, mut operator) = (stage.accounts(), stage.operator());
        let (first, second) = (user.credential(Payer::Session(0)), user.credential(Payer::Session(1)));
        let refresh = |token: &str| auth::RefreshRequest { refresh_token: token.to_owned() };
        let revoke = |credential: &str| auth::RevokeCredentialRequest { credential: credential.to_owned() };
        let (user_name, first_session) = (user.name.clone(), user.sessions[0].session_id.clone());
        let first_key = user.key_id(0);
        let rotate = |grace_period| auth::RotateApiKeyRequest { api_key_id: first_key.clone(), grace_period, ..Default::default() };
        match self {
            RevokeKey => stage.revoke_key(user, 0).await,
            RevokeOthersKey => stage.revoke_key(another, 0).await,
            CreateKey => drop(accounts.create_api_key(bearer(first, auth::CreateApiKeyRequest::default())).await.unwrap()),
            Disable => {
                let disable = auth::DisableUserRequest { user_name, ..Default::default() };
                operator.disable_user(bearer(&stage.admin, disable)).await.unwrap();
            }
            DisableAnother => {
                let disable = auth::DisableUserRequest { user_name: another.name.clone(), ..Default::default() };
                operator.disable_user(bearer(&stage.admin, disable)).await.unwrap();
            }
            Lock => {
                let lock = auth::LockUserRequest { user_name, ..Default::default() };
                operator.lock_user(bearer(&stage.admin, lock)).await.unwrap();
            }
            ResetPassword => {
                operator.reset_password(bearer(&stage.admin, auth::ResetPasswordRequest { user_name })).await.unwrap();
            }
            Logout => drop(accounts.logout(bearer(first, auth::LogoutRequest {})).await.unwrap()),
            LogoutEverywhere => {
                accounts.logout_everywhere(bearer(second, auth::LogoutEverywhereRequest {})).await.unwrap();
            }
            RevokeSession => {
                let revoke = auth::RevokeSessionRequest { session_id: first_session };
                accounts.revoke_session(bearer(second, revoke)).await.unwrap();
            }
            NewPassword => {
                let change = auth::ChangePasswordRequest {
                    current_password: PASSWORD.to_owned(),
                    new_password: "another pass phrase, quite as long".to_owned(),
                };
                accounts.change_password(bearer(second, change)).await.unwrap();
            }
            Refresh => drop(accounts.refresh(refresh(&user.sessions[0].refresh_token)).await.unwrap()),
            ReuseRefreshToken => {
                let next = accounts.refresh(refresh(&user.sessions[0].refresh_token)).await.unwrap().into_inner();
                accounts.refresh(refresh(&next.refresh_token)).await.unwrap();
                let refused = accounts.refresh(refresh(&user.sessions[0].refresh_token)).await.unwrap_err();
                assert_eq!(shared::error::reason_of(&refused), Some(ErrorReason::RefreshTokenReused));
            }
            ShowLeakedKey => drop(accounts.revoke_credential(revoke(user.credential(Payer::Key(0)))).await.unwrap()),
            RevokeFirstSecret => {
                accounts.rotate_api_key(bearer(first, rotate(None))).await.unwrap();
                let first_secret = auth::RevokeApiKeyRequest { api_key_id: first_key.clone(), secret_number: Some(1) };
                accounts.revoke_api_key(bearer(first, first_secret)).await.unwrap();
            }
            RotateAtOnce => drop(accounts.rotate_api_key(bearer(first, rotate(Some(prost_types::Duration::default())))).await.unwrap()),
            Rotate => drop(accounts.rotate_api_key(bearer(first, rotate(None))).await.unwrap()),
            ShowLeakedRefreshToken => drop(accounts.revoke_credential(revoke(&user.sessions[0].refresh_token)).await.unwrap()),
        }
    }
}

/// Makes every change while answers run, on each inference-service one by each key and session, of the user and of another.
async fn each_change_ends_what_it_revokes(stage: &Stage) {
    let (mut all, mut told) = (0, 0);
    for &change in CHANGES {
        let (user, another) = (stage.person(&format!("ada.{change:?}")).await, stage.person(&format!("eve.{change:?}")).await);
        let ((ends, reason), gate) = (change.ends(), stage.gate());
        let (mut cut, mut kept) = (Vec::new(), Vec::new());
        for payer in PAYERS {
            let running = stage.run_everywhere(&format!("{change:?}: {payer:?}"), user.credential(payer)).await;
            if ends.contains(&payer) { &mut cut } else { &mut kept }.extend(running);
        }
        let others = if change == DisableAnother { Payer::Session(0) } else { Payer::Key(1) };
        let bystander = stage.run(0, "another's", another.credential(others)).await;
        change.make(stage, &user, &another).await;
        let made = Moment::now();
        let (cuts, mut slowest) = (cut.len(), std::time::Duration::ZERO);
        for running in cut {
            let what = running.what.clone();
            let (took, charged) = running.assert_cut(reason, made).await;
            assert!(took < AT_ONCE, "{what}: {took:?}");
            slowest = slowest.max(took);
            all += 1;
            told += usize::from(charged.is_some());
        }
        if change == DisableAnother {
            assert!(bystander.assert_cut(ErrorReason::UserDisabled, made).await.0 < AT_ONCE);
        } else {
            assert!(!bystander.is_over());
        }
        assert!(kept.iter().all(|running| !running.is_over()), "{change:?} cut too much");
        let wholes = kept.len();
        gate.open_for_good();
        for running in kept {
            running.assert_whole().await;
        }
        eprintln!("{change:?}: {cuts} answers ended within {slowest:?}");
        // A disabled user can't ask.
        if change != Disable {
            stage
                .has_spent(user.credential(Payer::Key(1)), CUT * i64::try_from(cuts).unwrap() + WHOLE * i64::try_from(wholes).unwrap())
                .await;
        }
    }
    assert!(told > all / 2, "{told} of {all} were told what they cost");
}

#[tokio::test]
async fn an_answer_ends_within_a_second_on_every_replica_when_what_pays_for_it_is_revoked_and_no_other_does_on_sqlite() {
    each_change_ends_what_it_revokes(&Stage::on_sqlite(&[]).await).await;
}

#[tokio::test]
async fn an_answer_ends_within_a_second_on_every_replica_when_what_pays_for_it_is_revoked_and_no_other_does_on_redis() {
    each_change_ends_what_it_revokes(&Stage::on_redis(&[]).await).await;
}
