//! What was granted and charged, and what became of a request.

use serde_json::{Value, json};
use tollgate_client::Client;
use tollgate_client::proto::auth::{LedgerEntry, LedgerEntryKind, Outcome, Receipt, RequestState, TokenUsage};

use crate::display::{json_text, json_time, time};
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;

pub(crate) async fn history(client: &Client, member: &str, limit: usize, output: &mut Output) -> Result<(), Failure> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut table = Table::new(&["TIME", "KIND", ">CREDITS", ">AVAILABLE", ">IN", ">OUT", "MODEL", "REQUEST", "NOTE"]);
    let mut ledger = client.ledger_of(member, u32::try_from(limit).unwrap_or(u32::MAX));
    let (mut records, mut shown) = (Vec::new(), 0);
    while shown < limit {
        let Some(entry) = ledger.next().await else { break };
        let entry = entry?;
        // A whole ledger is long: what nobody reads isn't kept.
        if output.is_json() {
            records.push(history_record(&entry))
        } else {
            table.row(history_row(entry))
        }
        shown += 1;
    }
    output.records(&records, &table)
}

fn history_record(entry: &LedgerEntry) -> Value {
    json!({
        "ledgerEntryId": entry.ledger_entry_id,
        "createdAt": json_time(entry.created_at),
        "kind": kind(entry.kind()),
        "credits": entry.credits(),
        "availableCredits": entry.available_credits(),
        "model": json_text(&entry.model),
        "usage": usage_record(entry.usage.as_ref()),
        "requestId": json_text(&entry.request_id),
        "userId": json_text(&entry.user_id),
        "apiKeyId": json_text(&entry.api_key_id),
        "note": json_text(&entry.note),
        "foldedEntries": entry.folded_entries,
    })
}

fn usage_record(usage: Option<&TokenUsage>) -> Value {
    usage.map_or(
        Value::Null,
        |usage| json!({"inputTokens": usage.input_tokens(), "outputTokens": usage.output_tokens(), "estimated": usage.estimated}),
    )
}

fn kind(kind: LedgerEntryKind) -> &'static str {
    match kind {
        LedgerEntryKind::Unspecified => "?",
        LedgerEntryKind::Grant => "grant",
        LedgerEntryKind::Settle => "charge",
        LedgerEntryKind::Refund => "refund",
        LedgerEntryKind::Expire => "expire",
        LedgerEntryKind::SettleLate => "charge-late",
        LedgerEntryKind::Checkpoint => "checkpoint",
    }
}

fn history_row(entry: LedgerEntry) -> [String; 9] {
    let kind = kind(entry.kind());
    // `~`: estimated.
    let tokens = |count: u32, estimated: bool| format!("{}{count}", if estimated { "~" } else { "" });
    let usage = entry.usage.map(|usage| (tokens(usage.input_tokens(), usage.estimated), tokens(usage.output_tokens(), usage.estimated)));
    let (input, out) = usage.unwrap_or_default();
    let credits = if entry.credits() > 0 { format!("+{}", entry.credits()) } else { entry.credits().to_string() };
    let available = entry.available_credits().to_string();
    let note = entry.folded_entries.map_or(entry.note, |folded| format!("stands for {folded} entries"));
    [time(entry.created_at), kind.to_owned(), credits, available, input, out, entry.model, entry.request_id, note]
}

pub(crate) async fn receipt(client: &Client, request_id: &str, output: &mut Output) -> Result<(), Failure> {
    let receipt = client.receipt(request_id).await?;
    let document = receipt_record(&receipt);
    output.record(&receipt_fields(receipt), document)
}

fn receipt_record(receipt: &Receipt) -> Value {
    json!({
        "requestId": receipt.request_id,
        "state": state(receipt.state()).replace(' ', "-"),
        "outcome": json_text(outcome_word(receipt.outcome())),
        "model": json_text(&receipt.model),
        "heldCredits": receipt.held_credits(),
        "chargedCredits": receipt.charged_credits(),
        "uncollectedCredits": receipt.uncollected_credits(),
        "remainingCredits": receipt.resolved_at.map(|_| receipt.remaining_credits()),
        "usage": usage_record(receipt.usage.as_ref()),
        "ledgerEntryId": json_text(&receipt.ledger_entry_id),
        "resolvedAt": json_time(receipt.resolved_at),
    })
}

fn state(state: RequestState) -> &'static str {
    match state {
        RequestState::Unspecified => "unknown",
        RequestState::Held => "in progress",
        RequestState::Settled => "charged",
        RequestState::Refunded => "refunded",
        RequestState::Expired => "expired",
        RequestState::SettledLate => "charged late",
    }
}

/// An outcome for programs.
fn outcome_word(of: Outcome) -> &'static str {
    match of {
        Outcome::UpstreamFailed => "upstream-failed",
        Outcome::NothingGenerated => "nothing-generated",
        Outcome::Unspecified | Outcome::Completed | Outcome::Cancelled => outcome(of),
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unspecified => "",
        Outcome::Completed => "completed",
        Outcome::Cancelled => "cancelled",
        Outcome::UpstreamFailed => "the model server failed",
        Outcome::NothingGenerated => "nothing was generated",
    }
}

fn receipt_fields(receipt: Receipt) -> Vec<(&'static str, String)> {
    let (state, outcome) = (state(receipt.state()), outcome(receipt.outcome()));
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
        let checkpoint = LedgerEntry {
            kind: LedgerEntryKind::Checkpoint.into(),
            credits: Some(7),
            available_credits: Some(6),
            folded_entries: Some(12),
            ..LedgerEntry::default()
        };
        assert_eq!(history_row(checkpoint), ["", "checkpoint", "+7", "6", "", "", "", "", "stands for 12 entries"]);
    }

    #[test]
    fn a_receipt_in_progress_has_no_result_yet() {
        let held = Receipt { request_id: "r1".into(), state: RequestState::Held.into(), held_credits: Some(1), ..Receipt::default() };
        let fields = receipt_fields(held);
        assert!(fields.contains(&("state", "in progress".to_owned())));
        assert!(!fields.iter().any(|(name, _)| *name == "remaining" || *name == "uncollected"));
    }
}
