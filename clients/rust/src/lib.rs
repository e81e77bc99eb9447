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
mod error;
mod inference;
mod kept_session;
mod ledger;
pub mod message;
mod paged;
mod service;
mod session;
mod sessions;
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
pub use error::{Error, Refusal};
pub use inference::ModelProgress;
pub use ledger::Ledger;
pub use paged::Paged;
pub use service::Service;
pub use session::{LockedSession, RefreshToken, Session, SessionStore, on_refresh};
pub use shared::ErrorReason;
/// The generated contract, stubs included: for calls that [`Client`] has no method for.
pub use shared::proto;
/// For [`Client::grant_credits`] and API keys, and for chats whose id the caller wants to keep first.
pub use shared::request_id::new_request_id;
pub use tonic::Code;
pub use user_list::{UserFilter, Users};
