//! How devices without a browser are signed in (RFC 8628), by whichever door.

use std::time::{Duration, Instant};

use http::Uri;
use shared::ErrorReason;
use shared::asked_host::AskedHost;
use shared::error::CallError;
use shared::proto::auth as pb;
use tonic::{Code, Request, Response, Status};

use crate::device_sign_in::{
    AnswerRefusal, DeviceCode, DeviceExchange, DeviceQuestion, DeviceSignIn, DeviceStart, NewDeviceSignIn, UserCode,
};
use crate::ids::{SessionId, UserId};
use crate::scope::{self, Scope};
use crate::service::accounts::AccountsService;
use crate::service::authorizer::Caller;
use crate::service::call::Call;
use crate::service::contract::timestamp;
use crate::service::guesses;
use crate::service::service_error::ServiceError;
use crate::service::sign_in::{SignedIn, new_session, of_user};
use crate::service::violations::{Violation, Violations, plain_text};
use crate::store::{AuditAction, AuditEvent};
use crate::throttle::NetworkQuota;
use crate::token_scopes::TokenScopes;
use crate::user::{Role, UserRecord};

/// Where people approve a device.
pub(crate) const DEVICE_PAGE: &str = "/device";
/// Sign-ins that one network begins at once.
const BEGUN_AT_ONCE: u32 = 10;
/// How often it begins another one after that.
const BEGUN_EVERY: Duration = Duration::from_secs(6);
/// How often codes are drawn that nobody has; more than once they are as good as never taken.
const MOST_DRAWN: usize = 3;

/// What devices' sign-ins need beside the store.
#[derive(Debug)]
pub struct DeviceSignIns {
    /// Bounds how many begin from one network.
    pub begun: NetworkQuota,
    /// The address by which people reach this service; `None`: the one that the device asked.
    pub public_url: Option<String>,
    /// Whether callers speak TLS with the service itself.
    pub tls: bool,
}

impl DeviceSignIns {
    /// With this address.
    #[must_use]
    pub fn new(public_url: Option<String>, tls: bool) -> Self {
        Self { begun: NetworkQuota::new(BEGUN_AT_ONCE, BEGUN_EVERY), public_url, tls }
    }

    /// Where people approve a device that sent this call.
    fn verification_uri(&self, asked: Option<&AskedHost>) -> Result<String, ServiceError> {
        if let Some(url) = &self.public_url {
            return Ok(format!("{}{DEVICE_PAGE}", url.trim_end_matches('/')));
        }
        let asked = asked.ok_or(ServiceError::Device(DeviceRefusal::HostUnknown))?;
        let scheme = if self.tls || asked.is_https { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(asked.authority.clone()).path_and_query(DEVICE_PAGE).build();
        uri.map(|uri| uri.to_string()).map_err(ServiceError::defect)
    }
}

/// Why a device, or who answers it, gets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceRefusal {
    /// Nobody has answered.
    Pending {
        /// How long to wait until the next question.
        wait: Duration,
    },
    /// The device asks too often.
    TooEarly {
        /// How long to wait from now on.
        wait: Duration,
    },
    /// It was denied.
    Denied,
    /// The device code is unknown, used or past its time, or its approval no longer counts.
    Over,
    /// Nothing that the caller could answer has the user code.
    UserCodeUnknown,
    /// As many devices wait as may.
    Full {
        /// When the first of them is over.
        retry_after: Duration,
    },
    /// The call doesn't say which host it was sent to, and no address is configured.
    HostUnknown,
}

impl From<DeviceRefusal> for CallError {
    fn from(refusal: DeviceRefusal) -> Self {
        match refusal {
            DeviceRefusal::Pending { wait } => Self::new(
                Code::FailedPrecondition,
                ErrorReason::AuthorizationPending,
                format!("nobody has approved the sign-in yet; ask again in {} s", wait.as_secs()),
            )
            .retry_after(wait),
            DeviceRefusal::TooEarly { wait } => Self::new(
                Code::ResourceExhausted,
                ErrorReason::SlowDown,
                format!("the device asks too often: wait {} s between two questions from now on", wait.as_secs()),
            )
            .retry_after(wait),
            DeviceRefusal::Denied => Self::new(Code::PermissionDenied, ErrorReason::DeviceSignInDenied, "the sign-in was denied"),
            DeviceRefusal::Over => Self::new(
                Code::NotFound,
                ErrorReason::DeviceCodeExpired,
                "the device code is unknown, used or past its time, or its approval no longer counts: begin again",
            ),
            DeviceRefusal::UserCodeUnknown => Self::new(
                Code::NotFound,
                ErrorReason::UserCodeUnknown,
                "no sign-in that can be approved has this code; compare it with what the device shows, which lasts 10 minutes",
            ),
            DeviceRefusal::Full { retry_after } => {
                let wait = Duration::from_secs(retry_after.as_secs() + 1);
                let message = format!("as many devices as may wait to be approved; try again in {} s", wait.as_secs());
                Self::new(Code::ResourceExhausted, ErrorReason::RateLimited, message).retry_after(wait)
            }
            DeviceRefusal::HostUnknown => Self::new(
                Code::InvalidArgument,
                ErrorReason::MessageMalformed,
                "send the host that you know this service by (`host`, or `:authority`)",
            ),
        }
    }
}

/// A sign-in that has begun.
pub(crate) struct BegunDevice {
    pub(crate) device_code: DeviceCode,
    pub(crate) sign_in: DeviceSignIn,
    pub(crate) verification_uri: String,
}

impl BegunDevice {
    /// Where to approve it, with the code.
    pub(crate) fn verification_uri_complete(&self) -> String {
        format!("{}?user_code={}", self.verification_uri, self.sign_in.user_code.shown())
    }
}

impl AccountsService {
    /// Begins the sign-in of a device, by whichever door. `client`: what it calls itself; empty: what the call's user-agent says.
    pub(crate) async fn begin_device(
        &self,
        call: Call<'_>,
        asked: Option<&AskedHost>,
        client: String,
        scopes: TokenScopes,
    ) -> Result<BegunDevice, ServiceError> {
        let verification_uri = self.devices.verification_uri(asked)?;
        self.devices.begun.admit(call.address, Instant::now()).map_err(|retry_after| ServiceError::Throttled { retry_after })?;
        let client = if client.is_empty() { call.client() } else { client };
        for _ in 0..MOST_DRAWN {
            let device_code = DeviceCode::random()?;
            let new = NewDeviceSignIn {
                user_code: UserCode::random()?,
                device_hash: device_code.hash(),
                client: client.clone(),
                address: call.address,
                scopes: scopes.clone(),
            };
            let event = AuditEvent { detail: client.clone(), ..call.event(AuditAction::BeginDeviceSignIn) };
            match self.store.begin_device_sign_in(new, event).await? {
                DeviceStart::Begun(sign_in) => return Ok(BegunDevice { device_code, sign_in, verification_uri }),
                DeviceStart::CodeTaken => {}
                DeviceStart::Full { retry_after } => return Err(ServiceError::Device(DeviceRefusal::Full { retry_after })),
            }
        }
        Err(ServiceError::defect("each code that was drawn was taken"))
    }

    /// Begins the session of a device whose sign-in was approved, by whichever door; or says what has become of it.
    pub(crate) async fn exchange_device(&self, call: Call<'_>, text: &str) -> Result<(SignedIn, UserRecord), ServiceError> {
        let over = ServiceError::Device(DeviceRefusal::Over);
        // Nonsense costs no look-up.
        let Some(code) = DeviceCode::parse(text) else { return Err(over) };
        let device = code.hash();
        let user_id = match self.store.question_of_device(&device).await? {
            DeviceQuestion::Approved(user_id) => user_id,
            DeviceQuestion::Pending { wait } => return Err(ServiceError::Device(DeviceRefusal::Pending { wait })),
            DeviceQuestion::TooEarly { wait } => return Err(ServiceError::Device(DeviceRefusal::TooEarly { wait })),
            DeviceQuestion::Denied => return Err(ServiceError::Device(DeviceRefusal::Denied)),
            DeviceQuestion::Over => return Err(over),
        };
        let user = self.user(&user_id).await?;
        let event = of_user(call.event(AuditAction::DeviceSignIn), &user);
        // Its name and scopes are those that were approved.
        let (first, new) = new_session(call, &user_id, "", &TokenScopes::All)?;
        match self.store.exchange_device_code(&device, &user_id, new, event.clone()).await? {
            DeviceExchange::Begun(session) => {
                let scopes = session.scopes.clone();
                Ok((self.signed_in(&user_id, first, session, scopes)?, user))
            }
            DeviceExchange::Over => Err(over),
            DeviceExchange::ApprovalEnded => {
                // Nobody has proved to be the user.
                let event = AuditEvent { actor: None, actor_name: String::new(), ..event };
                self.trail.record(event.failed(ErrorReason::DeviceCodeExpired)).await;
                Err(over)
            }
        }
    }

    pub(super) async fn answer_begin_device_sign_in(
        &self,
        request: Request<pb::BeginDeviceSignInRequest>,
    ) -> Result<pb::BeginDeviceSignInResponse, ServiceError> {
        let (metadata, extensions, message) = request.into_parts();
        let mut violations = Violations::default();
        let client = violations.keep(plain_text("client", message.client, 200));
        let scopes = violations.keep(asked_scopes(&message.scopes));
        let (client, scopes) = violations.finish(client.zip(scopes))?;
        let begun = self.begin_device(Call::new(&metadata, &extensions), AskedHost::of(&extensions), client, scopes).await?;
        Ok(pb::BeginDeviceSignInResponse {
            device_code: begun.device_code.reveal().to_owned(),
            user_code: begun.sign_in.user_code.shown(),
            verification_uri_complete: begun.verification_uri_complete(),
            verification_uri: begun.verification_uri,
            expires_at: Some(timestamp(begun.sign_in.ends_at_ms)),
            interval: prost_types::Duration::try_from(begun.sign_in.interval).ok(),
        })
    }

    pub(super) async fn answer_exchange_device_code(
        &self,
        request: Request<pb::ExchangeDeviceCodeRequest>,
    ) -> Result<pb::ExchangeDeviceCodeResponse, ServiceError> {
        let (metadata, extensions, message) = request.into_parts();
        let (signed_in, user) = self.exchange_device(Call::new(&metadata, &extensions), &message.device_code).await?;
        let SignedIn { access_token, refresh_token, session, .. } = signed_in;
        Ok(pb::ExchangeDeviceCodeResponse {
            access_token: access_token.token,
            expires_at: Some(access_token.expires_at.into()),
            refresh_token: refresh_token.reveal().to_owned(),
            refresh_expires_at: Some(timestamp(session.refresh_expires_at_ms)),
            session_id: session.session_id.to_string(),
            user_name: user.user_name.to_string(),
        })
    }

    pub(super) async fn answer_get_device_sign_in(
        &self,
        request: Request<pb::GetDeviceSignInRequest>,
    ) -> Result<pb::GetDeviceSignInResponse, ServiceError> {
        let call = Call::of(&request);
        let (caller, _) = self.approver(call).await?;
        let id = caller.principal.user_id;
        let sign_in = self.device_of(call, &id, &request.get_ref().user_code).await?;
        let user = self.user(&id).await?;
        Ok(pb::GetDeviceSignInResponse {
            user_code: sign_in.user_code.shown(),
            description: described(&sign_in, &user),
            address: sign_in.address.map(|address| address.to_string()).unwrap_or_default(),
            scopes: scope_names(&sign_in.scopes),
            requested_at: Some(timestamp(sign_in.requested_at_ms)),
            expires_at: Some(timestamp(sign_in.ends_at_ms)),
            client: sign_in.client,
        })
    }

    /// Approves or denies, and records what fails as what was asked for.
    pub(super) async fn approve_or_deny(
        &self,
        request: Request<pb::ApproveDeviceRequest>,
    ) -> Result<Response<pb::ApproveDeviceResponse>, Status> {
        let action = if request.get_ref().deny { AuditAction::DenyDevice } else { AuditAction::ApproveDevice };
        self.trail.answer(action, request, |request| self.answer_approve_device(request, action)).await
    }

    async fn answer_approve_device(
        &self,
        request: Request<pb::ApproveDeviceRequest>,
        action: AuditAction,
    ) -> Result<pb::ApproveDeviceResponse, ServiceError> {
        let call = Call::of(&request);
        let (caller, session) = self.approver(call).await?;
        let id = &caller.principal.user_id;
        let user = self.user(id).await?;
        call.know(|event| event.to_user(&user.user_id, &user.user_name));
        let message = request.get_ref();
        let event = of_user(call.event(action).by(&caller.principal), &user);
        let code = user_code(&message.user_code)?;
        let approves = action == AuditAction::ApproveDevice;
        let answering = async {
            self.store.answer_device_sign_in(&code, id, &session, approves, event).await?.map_err(|refusal| match refusal {
                AnswerRefusal::Unknown => ServiceError::Device(DeviceRefusal::UserCodeUnknown),
                AnswerRefusal::Refused(refusal) => ServiceError::Store(refusal),
            })
        };
        guesses::counted(&self.guesses.device_codes, call, id, code.letters(), answering).await?;
        tracing::info!(target: "audit", action = action.name(), actor = %id, subject = %id, "a device's sign-in was answered");
        Ok(pb::ApproveDeviceResponse {})
    }

    /// Who may answer a device: an access token of ours that may do all that its user may, with its session.
    async fn approver(&self, call: Call<'_>) -> Result<(Caller, SessionId), ServiceError> {
        let caller = self.authorizer.owner(call).await?;
        // A release before sessions issued a token that has none.
        let session = caller.principal.session_id.clone().ok_or(ServiceError::AccessTokenRequired)?;
        Ok((caller, session))
    }

    /// The sign-in with a code, if this user can answer it.
    async fn device_of(&self, call: Call<'_>, user: &UserId, text: &str) -> Result<DeviceSignIn, ServiceError> {
        let code = user_code(text)?;
        let looking = async {
            let found = self.store.device_sign_in(&code).await?.filter(|sign_in| sign_in.can_be_answered_by(user));
            found.ok_or(ServiceError::Device(DeviceRefusal::UserCodeUnknown))
        };
        guesses::counted(&self.guesses.device_codes, call, user, code.letters(), looking).await
    }
}

fn user_code(text: &str) -> Result<UserCode, ServiceError> {
    UserCode::parse(text)
        .ok_or_else(|| ServiceError::field("user_code", "must be the eight letters that the device shows, as in BCDF-GHJK"))
}

fn asked_scopes(names: &[String]) -> Result<TokenScopes, Violation> {
    let is_known = names.iter().all(|name| shared::scope::ALL.contains(&name.as_str()));
    let scopes = is_known.then(|| TokenScopes::parse(&names.join(" "))).flatten();
    scopes.ok_or_else(|| Violation::new("scopes", format!("must be of {}", shared::scope::ALL.join(", "))))
}

fn scope_names(scopes: &TokenScopes) -> Vec<String> {
    match scopes {
        TokenScopes::All => Vec::new(),
        TokenScopes::Only(scopes) => scope::names(scopes).into_iter().map(str::to_owned).collect(),
    }
}

/// Whether a character looks like a double quotation mark.
fn is_double_quote(c: char) -> bool {
    let like_one = '\u{201c}'..='\u{201f}';
    like_one.contains(&c)
        || matches!(
            c,
            '"' | '\u{ab}' | '\u{bb}' | '\u{2033}' | '\u{2036}' | '\u{301d}'..='\u{301f}' | '\u{ff02}' | '\u{2ba}' | '\u{2dd}' | '\u{2ee}'
        )
}

/// What approving lets the device do, for the person who decides. What the device says of itself stands in quotes that it can't close.
fn described(sign_in: &DeviceSignIn, user: &UserRecord) -> String {
    let name = sign_in.client.replace(is_double_quote, "'");
    let who = if name.is_empty() {
        "A device that gives no name".to_owned()
    } else {
        format!("A device that calls itself \u{201c}{name}\u{201d}")
    };
    let place = sign_in.address.map(|address| format!(", at {address},")).unwrap_or_default();
    let may = match &sign_in.scopes {
        TokenScopes::All if user.role == Role::Admin => {
            "do all that you may, as an operator too: change users and credits, spend your own, and make API keys".to_owned()
        }
        TokenScopes::All => "do all that you may: spend your credits, make API keys, and change your account".to_owned(),
        TokenScopes::Only(scopes) => in_words(scopes),
    };
    format!(
        "{who}{place} asks to be signed in as {}. It will be able to {may}, until its session ends or you end it. Approve it only if you \
         began this yourself, just now.",
        user.user_name
    )
}

fn in_words(scopes: &[Scope]) -> String {
    let has = |scope: &Scope| scopes.contains(scope);
    let all_inference = Scope::INFERENCE.iter().all(has);
    let word = |scope: &Scope| match scope {
        Scope::Chat => "chat with models for your credits",
        Scope::Generate => "have models continue texts for your credits",
        Scope::Embed => "have texts embedded for your credits",
        Scope::ListModels => "list models",
        Scope::Models => "make and remove models, if you may",
        Scope::Account => "read your balance, ledger and usage",
    };
    let single = scopes.iter().filter(|scope| !(all_inference && Scope::INFERENCE.contains(scope))).map(word);
    let words: Vec<&str> = all_inference.then_some("use models for your credits").into_iter().chain(single).collect();
    match words.split_last() {
        None => "do nothing".to_owned(),
        Some((last, [])) => format!("{last}, and nothing else"),
        Some((last, others)) => format!("{} and {last}, and nothing else", others.join(", ")),
    }
}
