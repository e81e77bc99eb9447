//! What organizations, devices and the second factor give once: an invitation's code, a device's code, an app's secret, recovery codes.

use std::time::{SystemTime, UNIX_EPOCH};

use integration::hostile_http1::HostileHttp1;
use integration::process_pair::bearer;
use shared::proto::auth as pb;
use totp_rs::{Builder, Secret as TotpSecret};

use crate::stage::{Held, PASSWORD, Stage};

/// Characters before the secret of an invitation: its prefix and the account's id.
const INVITATION_HEAD: usize = 20;
/// Characters of a device code's prefix.
const DEVICE_HEAD: usize = 4;
/// Characters of a checksum, which is no secret.
const CHECKSUM: usize = 6;

impl Stage {
    fn note_secret(&mut self, code: &str, head: usize, what: &'static str) {
        self.secrets.insert(code[head..code.len() - CHECKSUM].to_owned(), what);
    }

    /// An invitation that nobody has used, and its code is noted.
    async fn invitation(&mut self, owner: &Held, account_id: &str) -> String {
        let (account_id, role) = (account_id.to_owned(), pb::MemberRole::Member.into());
        let invite = pb::InviteMemberRequest { account_id, role, ..Default::default() };
        let made = self.accounts().invite_member(bearer(&owner.token, invite)).await.unwrap().into_inner();
        self.said.push(format!("{:?}", made.invitation));
        self.note_secret(&made.invitation_code, INVITATION_HEAD, "an invitation's code");
        made.invitation_code
    }

    /// Invitations that are looked at, accepted, accepted again, mistyped, withdrawn, and shown where they don't belong. The last is open.
    pub(super) async fn organizations(&mut self, owner: &Held, guest: &Held) -> String {
        let mut accounts = self.accounts();
        let create = pb::CreateOrganizationRequest { name: "physics".to_owned() };
        let account_id =
            accounts.create_organization(bearer(&owner.token, create)).await.unwrap().into_inner().organization.unwrap().account_id;
        let accept = |code: &str| bearer(&guest.token, pb::AcceptInvitationRequest { invitation_code: code.to_owned() });
        let look = |code: &str| bearer(&guest.token, pb::GetInvitationRequest { invitation_code: code.to_owned() });
        let code = self.invitation(owner, &account_id).await;
        self.said.push(format!("{:?}", accounts.get_invitation(look(&code)).await.unwrap()));
        for wrong in [format!("{code}x"), guest.key.clone(), format!("{}{}", &code[..code.len() - 1], "!")] {
            self.said.push(format!("{:?}", accounts.accept_invitation(accept(&wrong)).await.unwrap_err()));
            self.said.push(format!("{:?}", accounts.get_invitation(look(&wrong)).await.unwrap_err()));
        }
        self.said.push(format!("{:?}", accounts.accept_invitation(accept(&code)).await.unwrap()));
        self.said.push(format!("{:?}", accounts.accept_invitation(accept(&code)).await.unwrap_err()));
        self.said.push(format!("{:?}", accounts.get_me(bearer(&code, pb::GetMeRequest {})).await.unwrap_err()));
        // Whoever finds one takes it back by showing it.
        let found = self.invitation(owner, &account_id).await;
        let revoke = pb::RevokeCredentialRequest { credential: found.clone() };
        self.said.push(format!("{:?}", accounts.revoke_credential(revoke).await.unwrap()));
        self.said.push(format!("{:?}", accounts.accept_invitation(accept(&found)).await.unwrap_err()));
        let list = pb::ListInvitationsRequest { account_id: account_id.clone() };
        self.said.push(format!("{:?}", accounts.list_invitations(bearer(&owner.token, list)).await.unwrap()));
        self.invitation(owner, &account_id).await
    }

    /// A sign-in of a device that nobody has approved, and its code is noted.
    async fn device(&mut self) -> pb::BeginDeviceSignInResponse {
        let begin = pb::BeginDeviceSignInRequest { client: "a notebook".to_owned(), ..Default::default() };
        let begun = self.accounts().begin_device_sign_in(begin).await.unwrap().into_inner();
        self.note_secret(&begun.device_code, DEVICE_HEAD, "a device's code");
        begun
    }

    /// Devices that ask too early, are approved, ask with others' codes, and again with a used one; over gRPC and OAuth2. The last is open.
    pub(super) async fn devices(&mut self, held: &Held) -> String {
        let mut accounts = self.accounts();
        let exchange = |code: &str| pb::ExchangeDeviceCodeRequest { device_code: code.to_owned() };
        let begun = self.device().await;
        for wrong in [begun.device_code.clone(), format!("{}x", begun.device_code), held.key.clone(), begun.user_code.clone()] {
            self.said.push(format!("{:?}", accounts.exchange_device_code(exchange(&wrong)).await.unwrap_err()));
        }
        for user_code in [begun.device_code.clone(), begun.user_code.clone()] {
            let look = bearer(&held.token, pb::GetDeviceSignInRequest { user_code });
            self.said.push(format!("{:?}", accounts.get_device_sign_in(look).await));
        }
        let approve = pb::ApproveDeviceRequest { user_code: begun.user_code.clone(), deny: false };
        self.said.push(format!("{:?}", accounts.approve_device(bearer(&held.token, approve)).await.unwrap()));
        self.said.push(format!("{:?}", accounts.get_me(bearer(&begun.device_code, pb::GetMeRequest {})).await.unwrap_err()));
        let grant = "grant_type=urn:ietf:params:oauth:grant-type:device_code";
        for code in [format!("{}x", begun.device_code), held.refresh_token.clone(), String::new()] {
            self.form("/token", &format!("{grant}&device_code={code}")).await;
        }
        self.form(&format!("/token?device_code={}", begun.device_code), grant).await;
        self.form("/device_authorization", &format!("client_id={}&scope={}", begun.device_code, begun.device_code)).await;
        self.form("/revoke", &format!("token={}x", begun.device_code)).await;
        self.device().await.device_code
    }

    /// Sends a form to auth-service, and notes an answer that gives no token.
    async fn form(&mut self, path: &str, body: &str) {
        let mut http1 = HostileHttp1::connect(self.pair.auth.address()).await;
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = http1.call("POST", path, &headers, body.as_bytes()).await;
        if answer.status != 200 {
            self.note(&answer);
        }
    }

    /// A second factor that is set up, proved rightly and wrongly by every door, and used up. An app's secret and a recovery code that is
    /// still good. The store has the secret, or it could judge no code: as bytes, and not as the text that is looked for.
    pub(super) async fn second_factor(&mut self) -> [String; 2] {
        let held = self.user("tess").await;
        let mut accounts = self.accounts();
        let begin = |password: &str| bearer(&held.token, pb::BeginTotpRequest { password: password.to_owned() });
        self.said.push(format!("{:?}", accounts.begin_totp(begin("canary-wrong-3Hs8pV")).await.unwrap_err()));
        let begun = accounts.begin_totp(begin(PASSWORD)).await.unwrap().into_inner();
        self.said.push(format!("{begun:?}"));
        self.secrets.insert(begun.totp_secret.clone(), "an app's secret");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let app = Builder::new().with_secret(TotpSecret::try_from_base32(&begun.totp_secret).unwrap()).build().unwrap();
        let code = app.generate(now).to_string();
        let confirm = |code: &str| bearer(&held.token, pb::ConfirmTotpRequest { second_factor_code: code.to_owned() });
        self.said.push(format!("{:?}", accounts.confirm_totp(confirm(&begun.totp_secret)).await.unwrap_err()));
        let given = accounts.confirm_totp(confirm(&code)).await.unwrap().into_inner();
        self.said.push(format!("{given:?}"));
        for code in &given.recovery_codes {
            self.secrets.insert(code.clone(), "a recovery code");
            self.secrets.insert(code.replace('-', ""), "a recovery code");
        }
        let login = |code: &str| pb::LoginRequest {
            user_name: "tess".to_owned(),
            password: PASSWORD.to_owned(),
            second_factor_code: code.to_owned(),
            ..Default::default()
        };
        let used = &given.recovery_codes[0];
        self.said.push(format!("{:?}", accounts.login(login("")).await.unwrap_err()));
        let again = accounts.login(login(used)).await.unwrap().into_inner();
        self.note_token(&again.access_token, "an access token");
        self.note_token(&again.refresh_token, "a refresh token");
        self.said.push(format!("{:?}", accounts.login(login(used)).await.unwrap_err()));
        let step_up = bearer(&held.token, pb::StepUpRequest { second_factor_code: given.recovery_codes[1].clone() });
        self.said.push(format!("{:?}", accounts.step_up(step_up).await.unwrap()));
        let user = format!("grant_type=password&username=tess&password={PASSWORD}");
        self.form("/token", &format!("{user}&second_factor_code={used}")).await;
        self.form("/token", &format!("{user}&second_factor_code={}", begun.totp_secret)).await;
        self.form(&format!("/token?second_factor_code={}", given.recovery_codes[2]), &user).await;
        self.said.push(format!("{:?}", accounts.get_me(bearer(&given.recovery_codes[2], pb::GetMeRequest {})).await.unwrap_err()));
        let state = accounts.get_second_factor(bearer(&held.token, pb::GetSecondFactorRequest {})).await.unwrap();
        self.said.push(format!("{state:?}"));
        [begun.totp_secret, given.recovery_codes[3].clone()]
    }
}
