//! What a hold was made for.

use std::fmt;
use std::ops::Deref;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use shared::ledger::MAX_CREDITS;
use shared::request_id::is_request_id;

use super::{Standing, TokenUsage, hold_id, is_attempt_id};
use crate::access::{RightsVersion, RightsVersions};
use crate::ids::{AccountId, KeyId, SessionId, UserId};
use crate::price::{MAX_PRICE, MAX_TOKENS, Price};
use crate::store::PresentedCredential;

/// What a hold's handle begins with.
const HANDLE_PREFIX: &str = "hold_";
/// The longest handle that is looked at: above what the longest names make.
const MAX_HANDLE_BYTES: usize = 4096;

/// What a hold was made for. It never changes, and its bytes are the hold's handle: Settle computes its charge from them alone, and the
/// store compares them with those that it keeps.
#[derive(Clone)]
pub struct Terms {
    fields: Fields,
    encoded: Vec<u8>,
}

/// The fields of [`Terms`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// The account that pays.
    pub account: AccountId,
    /// The user who acts.
    pub user_id: UserId,
    /// The key it was made with.
    pub key_id: Option<KeyId>,
    /// As the caller named it.
    pub request_id: String,
    /// The attempt: so a late settle of a refunded attempt can't resolve the hold of its retry.
    pub attempt_id: String,
    /// A digest of the request's parameters.
    pub fingerprint: Vec<u8>,
    /// As requested.
    pub model: String,
    /// What tokens cost.
    pub price: Price,
    /// Held at first.
    pub held_credits: i64,
    /// The most input tokens that are charged.
    pub max_input_tokens: u32,
    /// The most output tokens that are charged; 0 for embeddings.
    pub max_output_tokens: u32,
    /// The credential it was made with; `None`: a release made it that didn't look at it again.
    pub standing: Option<Standing>,
}

/// [`Fields`] as bytes. Fields may be added; whatever changes the meaning of those that stand takes another version.
#[derive(Clone, PartialEq, Message)]
struct Encoded {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    account: String,
    #[prost(string, tag = "3")]
    user_id: String,
    #[prost(string, optional, tag = "4")]
    key_id: Option<String>,
    #[prost(string, tag = "5")]
    request_id: String,
    #[prost(string, tag = "6")]
    attempt_id: String,
    #[prost(bytes = "vec", tag = "7")]
    fingerprint: Vec<u8>,
    #[prost(string, tag = "8")]
    model: String,
    #[prost(int64, tag = "9")]
    per_call: i64,
    #[prost(int64, tag = "10")]
    per_1k_input_tokens: i64,
    #[prost(int64, tag = "11")]
    per_1k_output_tokens: i64,
    #[prost(int64, tag = "12")]
    held_credits: i64,
    #[prost(uint32, tag = "13")]
    max_input_tokens: u32,
    #[prost(uint32, tag = "14")]
    max_output_tokens: u32,
    #[prost(message, optional, tag = "15")]
    standing: Option<EncodedStanding>,
}

/// [`Standing`] as bytes. The user is that of the terms.
#[derive(Clone, PartialEq, Message)]
struct EncodedStanding {
    /// Of an API key.
    #[prost(bytes = "vec", optional, tag = "1")]
    secret_hash: Option<Vec<u8>>,
    /// Of an access token, which may have none.
    #[prost(string, optional, tag = "2")]
    session_id: Option<String>,
    /// Of an access token.
    #[prost(int64, tag = "3")]
    issued_at_ms: i64,
    #[prost(fixed64, tag = "4")]
    rights_version: u64,
    #[prost(int64, optional, tag = "5")]
    good_until_ms: Option<i64>,
    /// Of the user's own account, where another one pays.
    #[prost(fixed64, optional, tag = "6")]
    home_version: Option<u64>,
}

impl From<&Standing> for EncodedStanding {
    fn from(standing: &Standing) -> Self {
        let number = |version: RightsVersion| u64::from_le_bytes(version.to_bytes());
        let RightsVersions { account, home } = standing.rights_versions;
        let (rights_version, home_version, good_until_ms) = (number(account), home.map(number), standing.good_until_ms);
        let common = Self { rights_version, home_version, good_until_ms, ..Self::default() };
        match &standing.credential {
            PresentedCredential::ApiKey { secret_hash } => Self { secret_hash: Some(secret_hash.to_vec()), ..common },
            PresentedCredential::AccessToken { session, issued_at_ms, .. } => {
                Self { session_id: session.as_ref().map(ToString::to_string), issued_at_ms: *issued_at_ms, ..common }
            }
        }
    }
}

impl EncodedStanding {
    fn read(self, user_id: &UserId) -> Option<Standing> {
        let Self { secret_hash, session_id, issued_at_ms, rights_version, good_until_ms, home_version } = self;
        let credential = match secret_hash {
            Some(secret_hash) => PresentedCredential::ApiKey { secret_hash: secret_hash.try_into().ok()? },
            None => {
                let session = match session_id {
                    Some(session_id) => Some(SessionId::parse(&session_id)?),
                    None => None,
                };
                PresentedCredential::AccessToken { user_id: user_id.clone(), session, issued_at_ms }
            }
        };
        let version = |number: u64| RightsVersion::from_bytes(number.to_le_bytes());
        let rights_versions = RightsVersions { account: version(rights_version), home: home_version.map(version) };
        Some(Standing { credential, rights_versions, good_until_ms })
    }
}

const VERSION: u32 = 1;

impl Terms {
    /// Of these fields.
    #[must_use]
    pub fn new(fields: Fields) -> Self {
        let Fields { account, user_id, key_id, request_id, attempt_id, fingerprint, model, price, .. } = &fields;
        let encoded = Encoded {
            version: VERSION,
            account: account.to_string(),
            user_id: user_id.to_string(),
            key_id: key_id.as_ref().map(ToString::to_string),
            request_id: request_id.clone(),
            attempt_id: attempt_id.clone(),
            fingerprint: fingerprint.clone(),
            model: model.clone(),
            per_call: price.per_call,
            per_1k_input_tokens: price.per_1k_input_tokens,
            per_1k_output_tokens: price.per_1k_output_tokens,
            held_credits: fields.held_credits,
            max_input_tokens: fields.max_input_tokens,
            max_output_tokens: fields.max_output_tokens,
            standing: fields.standing.as_ref().map(EncodedStanding::from),
        };
        let encoded = encoded.encode_to_vec();
        Self { fields, encoded }
    }

    /// Reads what [`as_bytes`](Self::as_bytes) gave; `None` when it is none of ours, or of a later version.
    #[must_use]
    pub fn from_bytes(encoded: Vec<u8>) -> Option<Self> {
        let read = Encoded::decode(&encoded[..]).ok()?;
        let price = |credits| (0..=MAX_PRICE).contains(&credits).then_some(credits);
        let user_id = UserId::parse(&read.user_id)?;
        let fields = Fields {
            account: AccountId::parse(&read.account)?,
            standing: match read.standing {
                Some(standing) => Some(standing.read(&user_id)?),
                None => None,
            },
            user_id,
            key_id: match read.key_id {
                Some(key_id) => Some(KeyId::parse(&key_id)?),
                None => None,
            },
            request_id: read.request_id,
            attempt_id: read.attempt_id,
            fingerprint: read.fingerprint,
            model: read.model,
            price: Price {
                per_call: price(read.per_call)?,
                per_1k_input_tokens: price(read.per_1k_input_tokens)?,
                per_1k_output_tokens: price(read.per_1k_output_tokens)?,
            },
            held_credits: read.held_credits,
            max_input_tokens: read.max_input_tokens,
            max_output_tokens: read.max_output_tokens,
        };
        let names = is_request_id(&fields.request_id) && is_attempt_id(&fields.attempt_id);
        let tokens = fields.max_input_tokens <= MAX_TOKENS && fields.max_output_tokens <= MAX_TOKENS;
        let good = read.version == VERSION && names && tokens && (0..=MAX_CREDITS).contains(&fields.held_credits);
        good.then_some(Self { fields, encoded })
    }

    /// What the store keeps.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.encoded
    }

    /// The handle that Extend and Settle are given: `hold_` and the bytes in URL-safe base64. Opaque to callers.
    #[must_use]
    pub fn to_handle(&self) -> String {
        let mut handle = String::with_capacity(HANDLE_PREFIX.len() + self.encoded.len().div_ceil(3) * 4);
        handle.push_str(HANDLE_PREFIX);
        URL_SAFE_NO_PAD.encode_string(&self.encoded, &mut handle);
        handle
    }

    /// Reads what [`to_handle`](Self::to_handle) gave; `None` for anything else.
    #[must_use]
    pub fn from_handle(handle: &str) -> Option<Self> {
        let text = handle.strip_prefix(HANDLE_PREFIX).filter(|_| handle.len() <= MAX_HANDLE_BYTES)?;
        Self::from_bytes(URL_SAFE_NO_PAD.decode(text).ok()?)
    }

    /// Whether an organization pays: whoever acts has a place there, and what they spend in a month is counted.
    #[must_use]
    pub fn is_of_organization(&self) -> bool {
        !self.account.is_own_of(&self.user_id)
    }

    /// The hold's name within its account.
    #[must_use]
    pub fn hold_id(&self) -> String {
        hold_id(&self.user_id, &self.request_id)
    }

    /// Usage within what the hold pays for.
    #[must_use]
    pub fn clamp(&self, usage: TokenUsage) -> TokenUsage {
        TokenUsage {
            input_tokens: usage.input_tokens.min(self.max_input_tokens),
            output_tokens: usage.output_tokens.min(self.max_output_tokens),
            estimated: usage.estimated,
        }
    }
}

impl Deref for Terms {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.fields
    }
}

impl PartialEq for Terms {
    /// By their bytes: those may hold what this release can't read.
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for Terms {}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields.fmt(f)
    }
}
