//! What the scripts keep as packed text, read and written. The layouts are in `lua/account.lua` and `lua/api_key.lua`.

use std::fmt::Write;

use crate::hold::{HoldRecord, Outcome, Price, Resolution, ResolvedHold, TokenUsage};
use crate::ids::{KeyId, UserId};
use crate::store::{ApiKeyRecord, ChargeRequest, EntryKind, LedgerEntry, Principal, Scope};
use crate::user::Role;

/// Room for a new hold with names of the usual lengths.
const NEW_HOLD_BYTES: usize = 320;

/// Reads the fields of a packed text one after the other. `None` from any of them means that the text is none of ours.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    /// Begins behind the version, which must be 1.
    fn of(text: &'a str) -> Option<Self> {
        text.strip_prefix("1 ").map(Self)
    }

    /// The next field.
    fn text(&mut self) -> Option<&'a str> {
        let (field, rest) = self.0.split_once(' ').unwrap_or((self.0, ""));
        self.0 = rest;
        Some(field)
    }

    fn number<N: std::str::FromStr>(&mut self) -> Option<N> {
        self.text()?.parse().ok()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.text()? {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        }
    }

    fn user_id(&mut self) -> Option<UserId> {
        UserId::parse(self.text()?)
    }

    /// A field in which `-` stands for nothing.
    fn optional<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
        match self.text()? {
            "-" => Some(None),
            text => parse(text).map(Some),
        }
    }

    /// All that is left: free text.
    fn rest(self) -> &'a str {
        self.0
    }
}

/// Reads an open hold; `None` also when it is resolved.
pub(crate) fn open_hold(text: &str) -> Option<HoldRecord> {
    hold(text).filter(|hold| hold.resolved.is_none())
}

/// Reads a resolved hold; `None` also when it is open.
pub(crate) fn resolved_hold(text: &str) -> Option<HoldRecord> {
    hold(text).filter(|hold| hold.resolved.is_some())
}

/// Reads a hold of either kind.
pub(crate) fn hold(text: &str) -> Option<HoldRecord> {
    let (kind, rest) = text.split_once(' ')?;
    let is_resolved = match kind {
        "1o" | "1x" => false,
        "1d" => true,
        _ => return None,
    };
    let mut fields = Fields(rest);
    let expires_at_ms = fields.number()?;
    let (held_credits, max_output_tokens) = (fields.number()?, fields.number()?);
    let usage = TokenUsage { input_tokens: fields.number()?, output_tokens: fields.number()?, estimated: fields.flag()? };
    let (user_id, key_id) = (fields.user_id()?, fields.optional(KeyId::parse)?);
    let resolved = if is_resolved {
        Some(ResolvedHold {
            resolution: resolution(fields.text()?)?,
            outcome: fields.optional(outcome)?,
            charged_credits: fields.number()?,
            uncollected_credits: fields.number()?,
            remaining_credits: fields.number()?,
            ledger_entry: fields.number()?,
            at_ms: fields.number()?,
        })
    } else {
        None
    };
    Some(HoldRecord {
        user_id,
        key_id,
        request_id: fields.text()?.to_owned(),
        attempt_id: fields.text()?.to_owned(),
        fingerprint: fields.text()?.to_owned(),
        price: Price { per_call: fields.number()?, per_1k_input_tokens: fields.number()?, per_1k_output_tokens: fields.number()? },
        held_credits,
        max_input_tokens: fields.number()?,
        max_output_tokens,
        usage,
        expires_at_ms,
        model: fields.rest().to_owned(),
        resolved,
    })
}

/// A new hold, as Check asks for it, from behind its expiry; of a caller that isn't known, `-` stands for user and key.
pub(crate) fn new_hold(charge: &ChargeRequest, model: &str, price: i64, caller: Option<&Principal>) -> String {
    let (user_id, key_id) = caller.map_or(("-", None), |caller| (caller.user_id.as_str(), caller.key_id.as_ref()));
    let key_id = key_id.map_or("-", KeyId::as_str);
    let ChargeRequest { request_id, attempt_id, fingerprint, max_input_tokens, max_output_tokens, .. } = charge;
    let Price { per_call, per_1k_input_tokens, per_1k_output_tokens } = charge.price;
    // On every call, so it doesn't grow step by step. Writing into a String never fails.
    let mut text = String::with_capacity(NEW_HOLD_BYTES);
    let _ = write!(
        text,
        "{price} {max_output_tokens} 0 0 0 {user_id} {key_id} {request_id} {attempt_id} {fingerprint} {per_call} {per_1k_input_tokens} \
         {per_1k_output_tokens} {max_input_tokens} {model}"
    );
    text
}

/// Reads a member: role, whether disabled, and from when tokens are good.
pub(crate) fn member(text: &str) -> Option<(Role, bool, i64)> {
    let mut fields = Fields::of(text)?;
    let role = role(fields.text()?)?;
    let disabled = match fields.text()? {
        "e" => false,
        "d" => true,
        _ => return None,
    };
    Some((role, disabled, fields.number()?))
}

fn resolution(letter: &str) -> Option<Resolution> {
    match letter {
        "s" => Some(Resolution::Settled),
        "r" => Some(Resolution::Refunded),
        "e" => Some(Resolution::Expired),
        "l" => Some(Resolution::SettledLate),
        _ => None,
    }
}

fn outcome(letter: &str) -> Option<Outcome> {
    match letter {
        "c" => Some(Outcome::Completed),
        "x" => Some(Outcome::Cancelled),
        "f" => Some(Outcome::UpstreamFailed),
        "n" => Some(Outcome::NothingGenerated),
        _ => None,
    }
}

/// How the scripts name an outcome.
pub(crate) fn outcome_letter(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "c",
        Outcome::Cancelled => "x",
        Outcome::UpstreamFailed => "f",
        Outcome::NothingGenerated => "n",
    }
}

/// How the scripts name a role.
pub(crate) fn role_letter(role: Role) -> &'static str {
    match role {
        Role::User => "u",
        Role::Admin => "a",
    }
}

/// Reads a role.
pub(crate) fn role(letter: &str) -> Option<Role> {
    match letter {
        "u" => Some(Role::User),
        "a" => Some(Role::Admin),
        _ => None,
    }
}

/// How the scripts name a scope.
pub(crate) fn scope_letter(scope: Scope) -> char {
    match scope {
        Scope::Inference => 'i',
        Scope::Models => 'm',
        Scope::Account => 'a',
    }
}

fn scope(letter: char) -> Option<Scope> {
    match letter {
        'i' => Some(Scope::Inference),
        'm' => Some(Scope::Models),
        'a' => Some(Scope::Account),
        _ => None,
    }
}

/// Reads a ledger entry from its stream id and fields.
pub(crate) fn ledger_entry(id: &str, fields: &[String]) -> Option<LedgerEntry> {
    let entry = id.strip_suffix("-0")?.parse().ok()?;
    let [v, packed, r, request_id, t, free] = fields else { return None };
    if (v.as_str(), r.as_str(), t.as_str()) != ("v", "r", "t") {
        return None;
    }
    let mut fields = Fields::of(packed)?;
    let kind = match fields.text()? {
        "g" => EntryKind::Grant,
        letter => EntryKind::Resolved(resolution(letter)?),
    };
    let credits = fields.number()?;
    let available = fields.number()?;
    let user_id = fields.user_id()?;
    let key_id = fields.optional(KeyId::parse)?;
    let input_tokens = fields.optional(|text| text.parse().ok())?;
    let output_tokens = fields.optional(|text| text.parse().ok())?;
    let estimated = fields.optional(|text| Some(text == "1"))?;
    let usage = match (input_tokens, output_tokens, estimated) {
        (Some(input_tokens), Some(output_tokens), Some(estimated)) => Some(TokenUsage { input_tokens, output_tokens, estimated }),
        (None, None, None) => None,
        _ => return None,
    };
    let at_ms = fields.number()?;
    let (model, note) = if kind == EntryKind::Grant { (String::new(), free.clone()) } else { (free.clone(), String::new()) };
    Some(LedgerEntry { entry, kind, credits, available, request_id: request_id.clone(), user_id, key_id, model, usage, at_ms, note })
}

/// Packs an API key: what stands before the time it was made, and what stands behind.
pub(crate) fn pack_api_key(key: &ApiKeyRecord) -> (String, String) {
    let scopes: String = key.scopes.iter().map(|scope| scope_letter(*scope)).collect();
    let models: String = key.models.iter().map(|pattern| format!("={},", percent_encoded(pattern))).collect();
    let models = if models.is_empty() { "-".to_owned() } else { models };
    let time = |at: Option<i64>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    (
        format!("1 {} {} s{scopes}", key.key_id, key.user_id),
        format!(
            "{} {} {models} {} {}",
            time(key.expires_at_ms),
            time(key.revoked_at_ms),
            percent_encoded(&key.hint),
            percent_encoded(&key.name)
        ),
    )
}

/// Reads an API key.
pub(crate) fn api_key(text: &str) -> Option<ApiKeyRecord> {
    let mut fields = Fields::of(text)?;
    let key_id = KeyId::parse(fields.text()?)?;
    let user_id = fields.user_id()?;
    let scopes = fields.text()?.strip_prefix('s')?.chars().map(scope).collect::<Option<_>>()?;
    let created_at_ms = fields.number()?;
    let expires_at_ms = fields.optional(|text| text.parse().ok())?;
    let revoked_at_ms = fields.optional(|text| text.parse().ok())?;
    let models = match fields.text()? {
        "-" => Vec::new(),
        list => list.strip_suffix(',')?.split(',').map(|pattern| percent_decoded(pattern.strip_prefix('=')?)).collect::<Option<_>>()?,
    };
    let hint = percent_decoded(fields.text()?)?;
    let name = percent_decoded(fields.text()?)?;
    Some(ApiKeyRecord { key_id, user_id, name, hint, scopes, models, created_at_ms, expires_at_ms, revoked_at_ms })
}

/// Writes a text so that it holds no space, comma, percent sign, control character, or byte beyond ASCII.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'%' | b',') {
            encoded.push(char::from(byte));
        } else {
            // Writing into a String never fails.
            let _ = write!(encoded, "%{byte:02x}");
        }
    }
    encoded
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let digits = tail.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            bytes.extend(hex::decode(digits).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "0123456789abcdef";

    #[test]
    fn an_open_hold_is_read_as_the_scripts_write_it() {
        let text = format!("1x 1700000000000 40 60 7 8 1 {USER} - req-1 att_1 ff00 1 2 3 500 a model: with spaces ");
        assert_eq!(open_hold(&text.replacen("1x", "1o", 1)), open_hold(&text));
        let hold = open_hold(&text).unwrap();
        assert_eq!(hold.user_id.as_str(), USER);
        assert_eq!(hold.key_id, None);
        assert_eq!((hold.request_id.as_str(), hold.attempt_id.as_str(), hold.fingerprint.as_str()), ("req-1", "att_1", "ff00"));
        assert_eq!(hold.price, Price { per_call: 1, per_1k_input_tokens: 2, per_1k_output_tokens: 3 });
        assert_eq!((hold.held_credits, hold.max_input_tokens, hold.max_output_tokens), (40, 500, 60));
        assert_eq!(hold.usage, TokenUsage { input_tokens: 7, output_tokens: 8, estimated: true });
        assert_eq!(hold.expires_at_ms, 1_700_000_000_000);
        assert_eq!(hold.model, "a model: with spaces ");
        assert_eq!(hold.resolved, None);
    }

    #[test]
    fn a_resolved_hold_is_read_as_the_scripts_write_it() {
        let hold = resolved_hold(&format!("1d 5 0 1 0 0 0 {USER} 0123456789ab l x 3 4 5 6 7 r a  0 0 0 1 m")).unwrap();
        assert_eq!(hold.fingerprint, "");
        assert_eq!(
            hold.resolved,
            Some(ResolvedHold {
                resolution: Resolution::SettledLate,
                outcome: Some(Outcome::Cancelled),
                charged_credits: 3,
                uncollected_credits: 4,
                remaining_credits: 5,
                ledger_entry: 6,
                at_ms: 7,
            })
        );
        assert_eq!(resolved_hold("1d short"), None);
        assert_eq!(resolved_hold("2 from the future"), None);
    }

    #[test]
    fn an_api_key_survives_packing_whatever_its_texts_hold() {
        let key = ApiKeyRecord {
            key_id: KeyId::parse("0123456789ab").unwrap(),
            user_id: UserId::parse(USER).unwrap(),
            name: "né, 100 % = \"mine\"\n".to_owned(),
            hint: String::new(),
            scopes: vec![Scope::Account, Scope::Inference],
            models: vec![String::new(), "llama*".to_owned(), "a,b c%20-".to_owned()],
            created_at_ms: 12,
            expires_at_ms: Some(13),
            revoked_at_ms: None,
        };
        let (head, tail) = pack_api_key(&key);
        assert_eq!(head, format!("1 0123456789ab {USER} sai"));
        assert_eq!(tail, "13 - =,=llama*,=a%2cb%20c%2520-,  n%c3%a9%2c%20100%20%25%20=%20\"mine\"%0a");
        assert_eq!(api_key(&format!("{head} 12 {tail}")), Some(key));
    }
}
