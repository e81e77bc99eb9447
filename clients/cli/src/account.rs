//! Accounts, keys and credits.

use std::time::SystemTime;

use tollgate_client::proto::auth::{ApiKey, LedgerEntry, LedgerEntryKind, Outcome, Receipt, RequestState};
use tollgate_client::{ApiKeyOptions, Client, Profile};

use crate::arguments::{Keys, SignUp};
use crate::display::{credits, role, time};
use crate::failure::Failure;
use crate::output::{Output, hint};
use crate::password;
use crate::table::Table;

pub(crate) async fn sign_up(client: &Client, arguments: SignUp, output: &mut Output) -> Result<(), Failure> {
    let password = password::read_new(&format!("New password for {} (15 characters or more): ", arguments.name))?;
    let profile = Profile { full_name: arguments.full_name, email: arguments.email };
    let made = client.sign_up(&arguments.name, &password, profile).await?;
    let (available, name) = (made.available_credits(), made.user.unwrap_or_default().user_name);
    output.line(&format!("{name} has an account with {}", credits(available)))
}

pub(crate) async fn login(client: &Client, name: &str, output: &mut Output) -> Result<(), Failure> {
    let session = client.login(name, &password::read(&format!("Password for {name}: "))?).await?;
    output.line(session.access_token.expose())?;
    if let Some(expires_at) = session.expires_at {
        hint(&format!("access token until {}", time(Some(expires_at.into()))));
    }
    Ok(())
}

pub(crate) async fn me(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let me = client.get_me().await?;
    let user = me.user.unwrap_or_default();
    let role = role(user.role());
    let credential = if me.api_key_id.is_empty() { "access token".to_owned() } else { format!("API key {}", me.api_key_id) };
    output.fields(&[
        ("user", user.user_name),
        ("user id", user.user_id),
        ("full name", user.full_name),
        ("e-mail", user.email),
        ("role", role.to_owned()),
        ("account", me.account_id),
        ("credential", credential),
        ("since", time(user.created_at)),
    ])
}

pub(crate) async fn balance(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let balance = client.balance().await?.balance.unwrap_or_default();
    output.fields(&[
        ("available", balance.available_credits().to_string()),
        ("held", balance.held_credits().to_string()),
        ("spent", balance.spent_credits().to_string()),
        ("lapsed", balance.lapsed_credits().to_string()),
        ("granted", balance.granted_credits().to_string()),
    ])
}

pub(crate) async fn keys(client: &Client, command: Keys, output: &mut Output) -> Result<(), Failure> {
    match command {
        Keys::Create { name, scopes, models, expires_in } => {
            let scopes = scopes.into_iter().map(|scope| scope.name().to_owned()).collect();
            let expires_at = expires_in.map(|expires_in| SystemTime::now() + expires_in);
            let made = client.create_api_key(ApiKeyOptions { name, scopes, models, expires_at }).await?;
            output.line(made.key.expose())?;
            let end = made.api_key.expires_at.map(|end| format!(", until {}", time(Some(end)))).unwrap_or_default();
            hint(&format!("key {} for {}{end}; it can't be shown again", made.api_key.api_key_id, made.api_key.scopes.join(", ")));
            Ok(())
        }
        Keys::List => {
            let mut table = Table::new(&["ID", "KEY", "STATE", "SCOPES", "MODELS", "CREATED", "EXPIRES", "NAME"]);
            for key in client.list_api_keys().await? {
                let state = key_state(&key, SystemTime::now());
                let models = if key.models.is_empty() { "*".to_owned() } else { key.models.join(",") };
                let (created, expires) = (time(key.created_at), time(key.expires_at));
                table.row([key.api_key_id, key.hint, state.to_owned(), key.scopes.join(","), models, created, expires, key.name]);
            }
            output.table(&table)
        }
        Keys::Revoke { id } => {
            let key = client.revoke_api_key(&id).await?;
            output.line(&format!("key {} is revoked", key.api_key_id))
        }
    }
}

fn key_state(key: &ApiKey, now: SystemTime) -> &'static str {
    let expired = || key.expires_at.and_then(|end| SystemTime::try_from(end).ok()).is_some_and(|end| end <= now);
    if key.revoked_at.is_some() {
        "revoked"
    } else if expired() {
        "expired"
    } else {
        "active"
    }
}

pub(crate) async fn history(client: &Client, limit: usize, output: &mut Output) -> Result<(), Failure> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut table = Table::new(&["TIME", "KIND", ">CREDITS", ">AVAILABLE", ">IN", ">OUT", "MODEL", "REQUEST", "NOTE"]);
    let mut ledger = client.ledger(u32::try_from(limit).unwrap_or(u32::MAX));
    let mut shown = 0;
    while shown < limit {
        let Some(entry) = ledger.next().await else { break };
        table.row(history_row(entry?));
        shown += 1;
    }
    output.table(&table)
}

fn history_row(entry: LedgerEntry) -> [String; 9] {
    let kind = match entry.kind() {
        LedgerEntryKind::Unspecified => "?",
        LedgerEntryKind::Grant => "grant",
        LedgerEntryKind::Settle => "charge",
        LedgerEntryKind::Refund => "refund",
        LedgerEntryKind::Expire => "expire",
        LedgerEntryKind::SettleLate => "charge-late",
    };
    // `~`: estimated.
    let tokens = |count: u32, estimated: bool| format!("{}{count}", if estimated { "~" } else { "" });
    let usage = entry.usage.map(|usage| (tokens(usage.input_tokens(), usage.estimated), tokens(usage.output_tokens(), usage.estimated)));
    let (input, out) = usage.unwrap_or_default();
    let credits = if entry.credits() > 0 { format!("+{}", entry.credits()) } else { entry.credits().to_string() };
    let available = entry.available_credits().to_string();
    [time(entry.created_at), kind.to_owned(), credits, available, input, out, entry.model, entry.request_id, entry.note]
}

pub(crate) async fn receipt(client: &Client, request_id: &str, output: &mut Output) -> Result<(), Failure> {
    output.fields(&receipt_fields(client.receipt(request_id).await?))
}

fn receipt_fields(receipt: Receipt) -> Vec<(&'static str, String)> {
    let state = match receipt.state() {
        RequestState::Unspecified => "unknown",
        RequestState::Held => "in progress",
        RequestState::Settled => "charged",
        RequestState::Refunded => "refunded",
        RequestState::Expired => "expired",
        RequestState::SettledLate => "charged late",
    };
    let outcome = match receipt.outcome() {
        Outcome::Unspecified => "",
        Outcome::Completed => "completed",
        Outcome::Cancelled => "cancelled",
        Outcome::UpstreamFailed => "the model server failed",
        Outcome::NothingGenerated => "nothing was generated",
    };
    let (held, charged, uncollected) = (receipt.held_credits(), receipt.charged_credits(), receipt.uncollected_credits());
    let remaining = receipt.remaining_credits();
    let mut fields = vec![
        ("request", receipt.request_id),
        ("state", state.to_owned()),
        ("outcome", outcome.to_owned()),
        ("model", receipt.model),
        ("held", held.to_string()),
        ("charged", charged.to_string()),
    ];
    if uncollected > 0 {
        fields.push(("uncollected", uncollected.to_string()));
    }
    if receipt.resolved_at.is_some() {
        fields.push(("remaining", remaining.to_string()));
        fields.push(("resolved", time(receipt.resolved_at)));
        fields.push(("ledger entry", receipt.ledger_entry_id));
    }
    if let Some(usage) = receipt.usage {
        let estimated = if usage.estimated { " (estimated)" } else { "" };
        fields.push(("tokens in", format!("{}{estimated}", usage.input_tokens())));
        fields.push(("tokens out", format!("{}{estimated}", usage.output_tokens())));
    }
    fields
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use tollgate_client::proto::auth::TokenUsage;

    use super::*;

    #[test]
    fn a_history_row_shows_signs_and_marks_estimates() {
        let entry = LedgerEntry {
            kind: LedgerEntryKind::Settle.into(),
            credits: Some(-1),
            available_credits: Some(9),
            request_id: "r1".into(),
            model: "smollm2".into(),
            usage: Some(TokenUsage { input_tokens: Some(31), output_tokens: Some(64), estimated: true }),
            ..LedgerEntry::default()
        };
        assert_eq!(history_row(entry), ["", "charge", "-1", "9", "~31", "~64", "smollm2", "r1", ""]);
        let grant = LedgerEntry {
            kind: LedgerEntryKind::Grant.into(),
            credits: Some(10),
            available_credits: Some(10),
            note: "start".into(),
            ..LedgerEntry::default()
        };
        assert_eq!(history_row(grant), ["", "grant", "+10", "10", "", "", "", "", "start"]);
    }

    #[test]
    fn a_key_is_active_until_it_is_revoked_or_past_its_time() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let key = |expires_at, revoked_at| ApiKey { expires_at, revoked_at, ..ApiKey::default() };
        assert_eq!(key_state(&key(None, None), now), "active");
        assert_eq!(key_state(&key(at(1_001), None), now), "active");
        assert_eq!(key_state(&key(at(1_000), None), now), "expired");
        assert_eq!(key_state(&key(at(1_000), at(5)), now), "revoked");
    }

    #[test]
    fn a_receipt_in_progress_has_no_result_yet() {
        let held = Receipt { request_id: "r1".into(), state: RequestState::Held.into(), held_credits: Some(1), ..Receipt::default() };
        let fields = receipt_fields(held);
        assert!(fields.contains(&("state", "in progress".to_owned())));
        assert!(!fields.iter().any(|(name, _)| *name == "remaining" || *name == "uncollected"));
    }
}
