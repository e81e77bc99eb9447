//! One issuer: what it says of itself and its keys, which is read when it is needed and kept for a time, and its token endpoint.
//!
//! Whoever waits for it waits for a bounded time, and nobody else waits at all. Reads are few, whatever is sent here: one at a time, and so
//! many seconds apart where they failed, or where a token named a key that isn't there, as anybody can make one do.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AsyncHttpClient, AuthType, AuthorizationCode, Client, ClientId, CsrfToken, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, IdTokenFields, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RequestTokenError, Scope, StandardErrorResponse, StandardTokenResponse, TokenResponse,
};
use reqwest::Url;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::config::SignInIssuerConfig;
use super::id_token::{self, Expected, MoreClaims, NonceRule, Unfit, Verified};
use super::sealed::PendingSignIn;
use super::{ProofError, RETRY_ISSUER};
use crate::foreign_issuer::jwks_source::{chain, client, kept_for, read_whole};
use crate::foreign_issuer::{SourceError, speaks_tls_or_stays_here};

/// Codes that one issuer is asked about at a time.
const MOST_EXCHANGES: usize = 32;
/// Characters of a token endpoint's error that are logged.
const MOST_OF_ERROR: usize = 60;

type OurFields =
    IdTokenFields<MoreClaims, EmptyExtraTokenFields, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;
type OurClient = Client<
    MoreClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    StandardTokenResponse<OurFields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// The times of an issuer. Tests have others.
#[derive(Debug, Clone, Copy)]
pub struct ProviderTimes {
    /// The least between two reads for keys that aren't there.
    pub between_unknown: Duration,
    /// Between two tries while it can't be read.
    pub retry: Duration,
    /// The least and the most for which it is kept, whatever its server says.
    pub keep: (Duration, Duration),
    /// For how long, when that says nothing.
    pub keep_unsaid: Duration,
    /// For how long it is used without having been read again.
    pub use_for: Duration,
    /// How long reading it takes, at most, however many requests that is. Shorter than `wait`, so that it is noted as failed.
    pub read: Duration,
    /// How long a caller waits, at most.
    pub wait: Duration,
}

impl Default for ProviderTimes {
    fn default() -> Self {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        Self {
            between_unknown: 60 * second,
            retry: 10 * second,
            keep: (60 * second, 24 * hour),
            keep_unsaid: hour,
            use_for: 24 * hour,
            read: 5 * second,
            wait: 6 * second,
        }
    }
}

/// An issuer.
pub(super) struct Provider {
    config: SignInIssuerConfig,
    url: IssuerUrl,
    client_id: ClientId,
    http: IssuerHttp,
    times: ProviderTimes,
    known: Mutex<Known>,
    /// Held by whoever reads.
    reading: tokio::sync::Mutex<()>,
    exchanges: Semaphore,
}

#[derive(Default)]
struct Known {
    read: Option<Arc<Discovered>>,
    /// When it couldn't be read, since it last could.
    failed_at: Option<Instant>,
    /// When it was last read for a key that wasn't there.
    wanted_at: Option<Instant>,
}

/// What an issuer says of itself.
struct Discovered {
    metadata: CoreProviderMetadata,
    client: OurClient,
    algorithms: Vec<CoreJwsSigningAlgorithm>,
    read_at: Instant,
    keep: Duration,
}

/// Why no ID token came for a code.
pub(super) enum ExchangeFailure {
    /// The issuer says that the code is not good.
    Refused,
    /// It answered without one.
    NoIdToken,
    /// It gave no answer that can be used.
    Unavailable(ProofError),
}

impl Provider {
    pub(super) fn new(config: SignInIssuerConfig, times: ProviderTimes) -> Result<Self, SourceError> {
        // It was parsed before, as a URL of ours.
        let url = IssuerUrl::new(config.issuer.clone()).unwrap_or_else(|_| IssuerUrl::from_url(nowhere()));
        let here = url.url().scheme() == "http";
        Ok(Self {
            http: IssuerHttp { client: client(here)?, here },
            client_id: ClientId::new(config.client_id.clone()),
            config,
            url,
            times,
            known: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            exchanges: Semaphore::new(MOST_EXCHANGES),
        })
    }

    pub(super) fn config(&self) -> &SignInIssuerConfig {
        &self.config
    }

    /// Where the issuer asks the person.
    pub(super) async fn authorization_url(&self, pending: &PendingSignIn) -> Result<String, ProofError> {
        let discovered = self.discovered().await?;
        let redirect = RedirectUrl::new(pending.redirect_uri.clone()).map_err(|_| ProofError::Invalid("no address to come back to"))?;
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(pending.verifier.clone()));
        let (state, nonce) = (CsrfToken::new(pending.state.clone()), Nonce::new(pending.nonce.clone()));
        let request = discovered.client.authorize_url(CoreAuthenticationFlow::AuthorizationCode, move || state, move || nonce);
        let scopes = self.config.scopes.iter().filter(|scope| *scope != "openid").map(|scope| Scope::new(scope.clone()));
        let (url, _, _) = request.add_scopes(scopes).set_pkce_challenge(challenge).set_redirect_uri(Cow::Owned(redirect)).url();
        Ok(url.into())
    }

    /// Exchanges a code for an ID token.
    pub(super) async fn exchange(
        &self,
        code: AuthorizationCode,
        verifier: PkceCodeVerifier,
        redirect: &str,
    ) -> Result<String, ExchangeFailure> {
        let unavailable = || ExchangeFailure::Unavailable(self.unavailable());
        let discovered = self.discovered().await.map_err(ExchangeFailure::Unavailable)?;
        let _place = self.exchanges.try_acquire().map_err(|_| unavailable())?;
        let redirect = RedirectUrl::new(redirect.to_owned()).map_err(|_| ExchangeFailure::Refused)?;
        let request =
            discovered.client.exchange_code(code).map_err(|_| self.say_unusable("it has no token endpoint")).map_err(|()| unavailable())?;
        let request = request.set_pkce_verifier(verifier).set_redirect_uri(Cow::Owned(redirect));
        let http = Asking::of(&self.http);
        let answer = match request.request_async(&http).await {
            Ok(answer) => answer,
            // Its words may repeat what it was sent.
            Err(RequestTokenError::ServerResponse(refused)) => {
                let error = refused.error().to_string();
                if error == "invalid_grant" {
                    return Err(ExchangeFailure::Refused);
                }
                let error: String = error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(MOST_OF_ERROR).collect();
                self.say_unusable(&format!("its token endpoint refuses this client: {error}"));
                return Err(unavailable());
            }
            Err(RequestTokenError::Request(Unreachable(why))) => {
                self.say_unusable(&why);
                return Err(unavailable());
            }
            Err(RequestTokenError::Parse(..) | RequestTokenError::Other(_)) => {
                self.say_unusable("its token endpoint answers what is no answer");
                return Err(unavailable());
            }
        };
        answer.id_token().map(ToString::to_string).ok_or(ExchangeFailure::NoIdToken)
    }

    /// Verifies an ID token by the keys that are known; once more with keys that were just read, where it names another.
    pub(super) async fn verify(&self, text: &str, nonce: NonceRule<'_>, leeway: Duration) -> Result<Verified, ProofError> {
        let token = id_token::parse(text)?;
        let discovered = self.discovered().await?;
        let judged = |discovered: &Discovered| {
            let (issuer, client_id, algorithms) = (&self.url, &self.client_id, &discovered.algorithms[..]);
            id_token::verify(&token, &Expected { issuer, client_id, keys: discovered.metadata.jwks(), algorithms, leeway }, nonce)
        };
        let unknown = || ProofError::Invalid("the ID token names a key that its issuer doesn't have");
        match judged(&discovered) {
            Ok(verified) => return Ok(verified),
            Err(Unfit::Refused(error)) => return Err(error),
            Err(Unfit::NoSuchKey) => {}
        }
        let Some(newer) = self.read_for_key(&discovered).await else { return Err(unknown()) };
        judged(&newer).map_err(|unfit| match unfit {
            Unfit::Refused(error) => error,
            Unfit::NoSuchKey => unknown(),
        })
    }

    /// What it says of itself, read anew where its time is over.
    async fn discovered(&self) -> Result<Arc<Discovered>, ProofError> {
        let known = |known: &Known| known.read.clone().filter(|read| read.read_at.elapsed() < read.keep);
        if let Some(fresh) = self.with_known(|found| known(found)) {
            return Ok(fresh);
        }
        let read = timeout(self.times.wait, async {
            let _reading = self.reading.lock().await;
            // Somebody else may have read it, or found that it can't be, meanwhile.
            let (fresh, has_just_failed) =
                self.with_known(|found| (known(found), found.failed_at.is_some_and(|at| at.elapsed() < self.times.retry)));
            if fresh.is_some() || has_just_failed { fresh } else { self.read().await }
        });
        let read = read.await.unwrap_or_default();
        // An older one is better than none, for a day.
        let usable = |known: &Known| known.read.clone().filter(|read| read.read_at.elapsed() < self.times.use_for);
        read.or_else(|| self.with_known(|found| usable(found))).ok_or_else(|| self.unavailable())
    }

    /// Reads it again for a key that wasn't in what was read before, unless that was done a short while ago.
    async fn read_for_key(&self, before: &Arc<Discovered>) -> Option<Arc<Discovered>> {
        let read = timeout(self.times.wait, async {
            let _reading = self.reading.lock().await;
            let newer = self.with_known(|known| known.read.clone().filter(|read| !Arc::ptr_eq(read, before)));
            if newer.is_some() {
                return newer;
            }
            let may_read = self.with_known(|known| {
                let may_read = known.wanted_at.is_none_or(|at| at.elapsed() >= self.times.between_unknown);
                if may_read {
                    known.wanted_at = Some(Instant::now());
                }
                may_read
            });
            if may_read { self.read().await } else { None }
        });
        read.await.unwrap_or_default()
    }

    /// Reads the document and the keys. Whoever calls holds `reading`.
    async fn read(&self) -> Option<Arc<Discovered>> {
        let read = timeout(self.times.read, self.discover()).await.unwrap_or_else(|_| Err("it took too long".to_owned()));
        self.with_known(|known| match read {
            Ok(discovered) => {
                let discovered = Arc::new(discovered);
                if known.failed_at.is_some() || known.read.is_none() {
                    tracing::info!(issuer = self.config.name, "what an issuer says of itself was read");
                }
                (known.failed_at, known.read) = (None, Some(Arc::clone(&discovered)));
                Some(discovered)
            }
            Err(why) => {
                if known.failed_at.is_none() {
                    self.say_unusable(&why);
                }
                known.failed_at = Some(Instant::now());
                None
            }
        })
    }

    async fn discover(&self) -> Result<Discovered, String> {
        let http = Asking::of(&self.http);
        let metadata = CoreProviderMetadata::discover_async(self.url.clone(), &http).await.map_err(|error| discovery_error(&error))?;
        let token_endpoint = metadata.token_endpoint().map(|url| url.url());
        for endpoint in std::iter::once(metadata.authorization_endpoint().url()).chain(token_endpoint) {
            self.http.allow(endpoint).map_err(|Unreachable(why)| why)?;
        }
        let listed = metadata.id_token_signing_alg_values_supported().iter();
        let algorithms: Vec<_> = listed.filter(|algorithm| is_asymmetric(algorithm)).cloned().collect();
        if algorithms.is_empty() {
            return Err("it signs ID tokens with no algorithm that is taken here".to_owned());
        }
        let secret = self.config.client_secret.clone();
        let client =
            OurClient::from_provider_metadata(metadata.clone(), self.client_id.clone(), secret).set_auth_type(auth_type(&metadata));
        let (least, most) = self.times.keep;
        let keep = http.kept().unwrap_or(self.times.keep_unsaid).clamp(least, most);
        Ok(Discovered { metadata, client, algorithms, read_at: Instant::now(), keep })
    }

    fn with_known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn unavailable(&self) -> ProofError {
        ProofError::IssuerUnavailable { issuer: self.config.name.clone(), retry_after: RETRY_ISSUER }
    }

    fn say_unusable(&self, why: &str) {
        tracing::warn!(issuer = self.config.name, why, "an issuer can't be used to sign in");
    }
}

/// A key of the issuer's own signs, and no secret that we have too.
fn is_asymmetric(algorithm: &CoreJwsSigningAlgorithm) -> bool {
    matches!(
        algorithm,
        CoreJwsSigningAlgorithm::EcdsaP256Sha256
            | CoreJwsSigningAlgorithm::EcdsaP384Sha384
            | CoreJwsSigningAlgorithm::EdDsa
            | CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256
            | CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384
            | CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512
            | CoreJwsSigningAlgorithm::RsaSsaPssSha256
            | CoreJwsSigningAlgorithm::RsaSsaPssSha384
            | CoreJwsSigningAlgorithm::RsaSsaPssSha512
    )
}

/// How we prove who we are, as the issuer takes it: by the header, unless it takes it in the body alone.
fn auth_type(metadata: &CoreProviderMetadata) -> AuthType {
    let methods = metadata.token_endpoint_auth_methods_supported();
    let takes = |method: CoreClientAuthMethod| methods.is_none_or(|methods| methods.contains(&method));
    let by_header = takes(CoreClientAuthMethod::ClientSecretBasic) || !takes(CoreClientAuthMethod::ClientSecretPost);
    if by_header { AuthType::BasicAuth } else { AuthType::RequestBody }
}

/// What went wrong, without what the issuer's answer says.
fn discovery_error(error: &openidconnect::DiscoveryError<Unreachable>) -> String {
    match error {
        openidconnect::DiscoveryError::Request(Unreachable(why)) => why.clone(),
        openidconnect::DiscoveryError::Response(status, _, _) => format!("it answered with HTTP status {}", status.as_u16()),
        openidconnect::DiscoveryError::Parse(_) => "what it says of itself, or of its keys, can't be read".to_owned(),
        openidconnect::DiscoveryError::Validation(_) => "it says that it is another issuer".to_owned(),
        _ => "it answers what can't be used".to_owned(),
    }
}

/// A URL that nobody has.
fn nowhere() -> Url {
    #[expect(clippy::unwrap_used, reason = "a URL that is written here")]
    Url::parse("https://issuer.invalid").unwrap()
}

/// No answer came; why, for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreachable(String);

/// How an issuer is asked: it is not trusted with our memory, our time, or where we call.
struct IssuerHttp {
    client: reqwest::Client,
    /// Whether the issuer is on this host, in plaintext.
    here: bool,
}

impl IssuerHttp {
    /// An issuer on the network sends nobody to this host, or elsewhere in plaintext.
    fn allow(&self, url: &Url) -> Result<(), Unreachable> {
        let is_allowed = if self.here { speaks_tls_or_stays_here(url) } else { url.scheme() == "https" };
        if is_allowed { Ok(()) } else { Err(Unreachable("it names an endpoint that is not of https".to_owned())) }
    }

    async fn call(&self, request: HttpRequest) -> Result<(HttpResponse, Option<Duration>), Unreachable> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|_| Unreachable("it names an endpoint that is no URL".to_owned()))?;
        self.allow(&url)?;
        let sent = self.client.request(parts.method, url).headers(parts.headers).body(body).send().await;
        let answer = sent.map_err(|error| Unreachable(chain(error.without_url())))?;
        let mut response = http::Response::builder().status(answer.status());
        if let Some(kind) = answer.headers().get(CONTENT_TYPE) {
            response = response.header(CONTENT_TYPE, kind);
        }
        let kept = kept_for(answer.headers());
        let body = read_whole(answer).await.map_err(Unreachable)?;
        Ok((response.body(body).map_err(|error| Unreachable(error.to_string()))?, kept))
    }
}

/// What the library asks with.
struct Asking<'h> {
    http: &'h IssuerHttp,
    /// For how long the last answer may be kept, as its server says.
    kept: Mutex<Option<Duration>>,
}

impl<'h> Asking<'h> {
    fn of(http: &'h IssuerHttp) -> Self {
        Self { http, kept: Mutex::new(None) }
    }

    fn kept(&self) -> Option<Duration> {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'c> AsyncHttpClient<'c> for Asking<'_> {
    type Error = Unreachable;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Unreachable>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let (response, kept) = self.http.call(request).await?;
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
            Ok(response)
        })
    }
}
