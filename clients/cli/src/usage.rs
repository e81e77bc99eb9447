//! What was used, by day and model.

use serde_json::{Value, json};
use tollgate_client::Client;
use tollgate_client::proto::auth::{GetUsageResponse, UsageRow};

use crate::display::json_text;
use crate::failure::Failure;
use crate::output::{Output, hint};
use crate::table::Table;

pub(crate) async fn usage(client: &Client, member: &str, from: &str, to: &str, output: &mut Output) -> Result<(), Failure> {
    let used = client.usage_of(member, from, to).await?;
    if let Some(missing) = missing(&used) {
        hint(&missing);
    }
    if output.is_json() { output.document(&record(&used)) } else { output.table(&table(&used)) }
}

fn record(used: &GetUsageResponse) -> Value {
    let row = |row: &UsageRow| {
        json!({
            "day": row.day,
            "model": json_text(&row.model),
            "calls": row.calls(),
            "inputTokens": row.input_tokens(),
            "outputTokens": row.output_tokens(),
            "chargedCredits": row.charged_credits(),
        })
    };
    json!({
        "accountId": used.account_id,
        "firstDay": used.first_day,
        "lastDay": used.last_day,
        "completeFromDay": used.complete_from_day,
        "rows": used.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn table(used: &GetUsageResponse) -> Table {
    let mut table = Table::new(&["DAY", "MODEL", ">CALLS", ">IN", ">OUT", ">CREDITS"]);
    let figures = |calls: i64, input: i64, out: i64, credits: i64| [calls, input, out, credits].map(|figure| figure.to_string());
    let mut row = |day: &str, model: &str, [calls, input, out, credits]: [String; 4]| {
        table.row([day.to_owned(), model.to_owned(), calls, input, out, credits]);
    };
    for one in &used.rows {
        row(&one.day, &one.model, figures(one.calls(), one.input_tokens(), one.output_tokens(), one.charged_credits()));
    }
    let sum = |of: fn(&UsageRow) -> i64| used.rows.iter().map(of).fold(0, i64::saturating_add);
    let all = figures(sum(UsageRow::calls), sum(UsageRow::input_tokens), sum(UsageRow::output_tokens), sum(UsageRow::charged_credits));
    row("all", "", all);
    table
}

/// What the figures lack, in words; `None`: nothing.
fn missing(used: &GetUsageResponse) -> Option<String> {
    let whole = &used.complete_from_day;
    let reason = "older entries were exported, or there are too many";
    // Days are written so that they compare as texts.
    match () {
        () if whole > &used.last_day => Some(format!("tollgate: no day is whole: {reason}")),
        () if whole > &used.first_day => Some(format!("tollgate: days before {whole} are not whole: {reason}")),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(complete_from: &str) -> GetUsageResponse {
        let row = |day: &str, model: &str, calls| UsageRow {
            day: day.into(),
            model: model.into(),
            calls: Some(calls),
            input_tokens: Some(10 * calls),
            output_tokens: Some(100 * calls),
            charged_credits: Some(calls),
        };
        GetUsageResponse {
            account_id: "a".into(),
            first_day: "2026-01-02".into(),
            last_day: "2026-01-31".into(),
            rows: vec![row("2026-01-03", "smollm2", 2), row("2026-01-04", "llama3", 3)],
            complete_from_day: complete_from.into(),
        }
    }

    #[test]
    fn usage_has_a_row_for_each_day_and_model_and_one_for_all() {
        let lines = table(&used("2026-01-02")).lines();
        let cells: Vec<Vec<&str>> = lines.iter().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(cells[1], ["2026-01-03", "smollm2", "2", "20", "200", "2"]);
        assert_eq!(cells[3], ["all", "-", "5", "50", "500", "5"]);
        assert_eq!(cells.len(), 4);
    }

    #[test]
    fn days_that_are_not_whole_are_said() {
        assert_eq!(missing(&used("2026-01-02")), None);
        assert!(missing(&used("2026-01-03")).unwrap().contains("before 2026-01-03"));
        assert!(missing(&used("2026-02-01")).unwrap().contains("no day is whole"));
    }
}
