//! A ledger entry as a line: the contract's `LedgerEntry` in its JSON form, with its account before it. What is empty is left out.

use serde::Serialize;
use shared::proto::auth as pb;

use crate::ids::AccountId;
use crate::service::contract;
use crate::store::LedgerEntry;

/// Credits are numbers: they are far below 2^53, and readers of the contract's JSON form take them as well as texts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    account_id: &'a str,
    ledger_entry_id: &'a str,
    kind: &'static str,
    credits: i64,
    available_credits: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_key_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    created_at: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    input_tokens: u32,
    output_tokens: u32,
    estimated: bool,
}

/// Appends an entry's line.
pub(super) fn push(lines: &mut Vec<u8>, account: &AccountId, entry: &LedgerEntry) {
    let at = entry.at_ms;
    let entry: pb::LedgerEntry = contract::ledger_entry(entry.clone());
    let usage = |usage: pb::TokenUsage| Usage {
        input_tokens: usage.input_tokens(),
        output_tokens: usage.output_tokens(),
        estimated: usage.estimated,
    };
    let line = Line {
        account_id: account.as_str(),
        ledger_entry_id: &entry.ledger_entry_id,
        kind: entry.kind().as_str_name(),
        credits: entry.credits(),
        available_credits: entry.available_credits(),
        request_id: &entry.request_id,
        user_id: &entry.user_id,
        api_key_id: &entry.api_key_id,
        model: &entry.model,
        usage: entry.usage.map(usage),
        created_at: contract::timestamp(at).to_string(),
        note: &entry.note,
    };
    // Texts and numbers: there is nothing in it that JSON doesn't have.
    lines.extend(serde_json::json!(line).to_string().into_bytes());
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::{Resolution, TokenUsage};
    use crate::ids::{KeyId, UserId};
    use crate::store::EntryKind;

    fn line(entry: &LedgerEntry) -> String {
        let mut lines = Vec::new();
        push(&mut lines, &AccountId::parse("0123456789ABCDEF").unwrap(), entry);
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn a_line_says_all_that_an_entry_does_in_the_contracts_words() {
        let charge = LedgerEntry {
            entry: 7,
            kind: EntryKind::Resolved(Resolution::SettledLate),
            credits: -3,
            available: 0,
            request_id: "r \"1\"\n".to_owned(),
            user_id: UserId::parse("0123456789abcdef").unwrap(),
            key_id: Some(KeyId::parse("0123456789ab").unwrap()),
            model: "hf.co/größe:q4".to_owned(),
            usage: Some(TokenUsage { input_tokens: 0, output_tokens: 4_000_000_000, estimated: true }),
            at_ms: 1_700_000_000_500,
            note: String::new(),
        };
        let expected = concat!(
            r#"{"accountId":"0123456789ABCDEF","ledgerEntryId":"7","kind":"LEDGER_ENTRY_KIND_SETTLE_LATE","credits":-3,"#,
            r#""availableCredits":0,"requestId":"r \"1\"\n","userId":"0123456789abcdef","apiKeyId":"0123456789ab","#,
            r#""model":"hf.co/größe:q4","usage":{"inputTokens":0,"outputTokens":4000000000,"estimated":true},"#,
            r#""createdAt":"2023-11-14T22:13:20.500Z"}"#,
            "\n"
        );
        assert_eq!(line(&charge), expected);
        let grant = LedgerEntry {
            entry: 1,
            kind: EntryKind::Grant,
            credits: 1_000_000_000_000,
            available: 1_000_000_000_000,
            key_id: None,
            model: String::new(),
            usage: None,
            note: "paid".to_owned(),
            ..charge
        };
        let expected = concat!(
            r#"{"accountId":"0123456789ABCDEF","ledgerEntryId":"1","kind":"LEDGER_ENTRY_KIND_GRANT","credits":1000000000000,"#,
            r#""availableCredits":1000000000000,"requestId":"r \"1\"\n","userId":"0123456789abcdef","#,
            r#""createdAt":"2023-11-14T22:13:20.500Z","note":"paid"}"#,
            "\n"
        );
        assert_eq!(line(&grant), expected);
    }
}
