//! The Rust client of Tollgate: accounts, API keys, credits, and answers streamed token by token.
//!
//! ```no_run
//! use tollgate_client::proto::inference::ChatRequest;
//! use tollgate_client::{Client, Event, message};
//!
//! # async fn example() -> Result<(), tollgate_client::Error> {
//! // TOLLGATE_API_KEY, TOLLGATE_AUTH_URL and TOLLGATE_URL.
//! let client = Client::from_env()?;
//! let request = ChatRequest { model: "llama3.2".into(), messages: vec![message::user("Why is the sky blue?")], ..Default::default() };
//! let mut answer = client.chat(request).await?;
//! while let Some(event) = answer.next().await {
//!     match event? {
//!         Event::Started(started) => println!("{} credits held", started.held_credits()),
//!         Event::Delta(delta) => print!("{}", delta.content),
//!         Event::Finished(finished) => println!("\n{:?}", finished.receipt),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Cancelling.** Dropping an [`Answer`] cancels the call: the model stops, and what it had generated is charged.
//!
//! **Repeating.** Each chat has a request id, the caller's own or one that this library makes ([`Answer::request_id`],
//! [`Error::request_id`]). Sending the same request again under the same id is always safe: it is charged once. A request that is
//! already resolved comes back as `Started` and `Finished` with `replayed` set, without the text; one that was refunded runs again;
//! one that still runs is refused with `REQUEST_IN_PROGRESS` and a retry delay. [`Client::receipt`] tells what became of it.
//!
//! **TLS.** A URL that begins with `https://` is spoken to over TLS. [`ClientBuilder::ca_file`] names an authority that the operating
//! system doesn't trust.
//!
//! **Sessions.** [`Client::login`] begins one. A client made with it ([`Client::with_session`]) refreshes by itself, ahead of the access
//! token's end, once for all its clones and tasks; answers that run go on. A program that keeps the session for its next run hands over a
//! [`SessionStore`]. What ends a session is [`Error::SessionEnded`].
//!
//! ```no_run
//! # async fn example() -> Result<(), tollgate_client::Error> {
//! let anybody = tollgate_client::Client::from_env()?;
//! let session = anybody.login("ada", "a pass phrase of some length").await?;
//! let client = anybody.with_stored_session(session, tollgate_client::on_refresh(|session| println!("{} goes on", session.session_id)));
//! println!("{:?}", client.balance().await?);
//! client.logout().await
//! # }
//! ```
//!
//! Other ways to begin one: [`Client::login_with`] takes a code of the second factor, [`Client::begin_sign_in`] and [`Client::sign_in`] go
//! by an OpenID issuer such as Google, and a device without a browser shows a code and waits:
//!
//! ```no_run
//! # async fn example() -> Result<(), tollgate_client::Error> {
//! let anybody = tollgate_client::Client::from_env()?;
//! let device = anybody.begin_device_sign_in("my notebook", &[]).await?;
//! println!("open {} and type {}", device.verification_uri, device.user_code);
//! let client = anybody.with_session(anybody.wait_for_device(&device).await?.session);
//! # Ok(())
//! # }
//! ```
//!
//! **Organizations.** [`Client::with_account`] with an organization's id pays from its account, and asks about it. Members, invitations,
//! service accounts and caps have methods of their own ([`Client::organizations`], [`Client::invite_member`],
//! [`Client::create_service_account`], [`Client::set_member_cap`]).
//!
//! **Second factor.** What asks for it again (`STEP_UP_REQUIRED`) is allowed for 15 minutes after [`Client::step_up`];
//! [`Client::with_step_up`] asks for a code when a call needs one, and sends the call again.
//!
//! **Errors.** [`Error`] tells a refusal (with its [`ErrorReason`]) from a server that can't be reached and a connection that broke.

mod account_header;
mod accounts;
mod admin;
mod answer;
mod api_keys;
mod audit;
mod authorized;
mod builder;
mod client;
mod connection;
mod credential;
mod device_sign_in;
mod error;
mod inference;
mod invitations;
mod issuer_sign_in;
mod kept_session;
mod ledger;
pub mod message;
mod organizations;
mod paged;
mod second_factor;
mod service;
mod service_accounts;
mod session;
mod sessions;
mod step_up;
mod transport_security;
mod usage;
mod user_list;

pub use accounts::Profile;
pub use admin::{NewUser, OneTimePassword};
pub use answer::{Answer, Completion, Event};
pub use api_keys::{ApiKeyOptions, NewApiKey, RotationOptions};
pub use audit::{AuditEvents, AuditFilter, AuditTail};
pub use builder::ClientBuilder;
pub use client::Client;
pub use credential::Credential;
pub use device_sign_in::DeviceSignIn;
pub use error::{Error, Refusal};
pub use inference::ModelProgress;
pub use invitations::{InvitationOptions, NewInvitation};
pub use issuer_sign_in::{IssuerSignIn, Proof};
pub use ledger::Ledger;
pub use organizations::Capped;
pub use paged::Paged;
pub use second_factor::{NewTotp, RecoveryCodes};
pub use service::Service;
pub use session::{LockedSession, RefreshToken, Session, SessionStore, SignedIn, on_refresh};
pub use sessions::SignInOptions;
pub use shared::ErrorReason;
/// The generated contract, stubs included: for calls that [`Client`] has no method for.
pub use shared::proto;
/// For [`Client::grant_credits`] and API keys, and for chats whose id the caller wants to keep first.
pub use shared::request_id::new_request_id;
pub use tonic::Code;
pub use user_list::{UserFilter, Users};
