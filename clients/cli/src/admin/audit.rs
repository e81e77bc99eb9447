//! The audit log.

use std::time::Duration;

use serde_json::{Map, Value};
use tollgate_client::proto::auth::AuditEvent;
use tollgate_client::{AuditFilter, AuditTail, Client, Code, Error};

use super::arguments::Audit;
use crate::display::{one_line, time};
use crate::failure::Failure;
use crate::interruption::unless_interrupted;
use crate::output::{Output, hint};
use crate::table::Table;

/// How many events are asked for at a time.
const PAGE: u32 = 500;
/// Between two looks at what has come.
const INTERVAL: Duration = Duration::from_secs(1);
/// The longest wait while the service can't be reached.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

pub(crate) async fn run(client: &Client, arguments: Audit, output: &mut Output) -> Result<(), Failure> {
    let last = arguments.last();
    let Audit { user, action, limit, follow } = arguments;
    let json = output.is_json();
    let filter = AuditFilter { user_name: user, action };
    if follow {
        return unless_interrupted(self::follow(client, filter, last, json, output)).await;
    }
    list(client, filter, limit, json, output).await
}

async fn list(client: &Client, filter: AuditFilter, limit: usize, json: bool, output: &mut Output) -> Result<(), Failure> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut events = client.audit_events(filter, u32::try_from(limit).unwrap_or(PAGE).min(PAGE));
    let mut table = Table::new(&["TIME", "ACTION", "RESULT", "WHO", "TO WHOM", "TO WHAT", "ADDRESS", "REQUEST", "DETAIL"]);
    let mut shown = 0;
    while shown < limit {
        let Some(event) = events.next().await else { break };
        let event = event?;
        if json {
            output.document(&json_of(event))?
        } else {
            table.row(cells(event))
        }
        shown += 1;
    }
    if json { Ok(()) } else { output.table(&table) }
}

/// Shows the last events, and each one that comes, once. A service that is being restarted is waited for.
async fn follow(client: &Client, filter: AuditFilter, last: u32, json: bool, output: &mut Output) -> Result<(), Failure> {
    let (events, mut tail) = client.audit_tail(filter, last).await?;
    show(events, json, output)?;
    let mut trouble = None;
    loop {
        let wait = match look(&mut tail, json, output).await {
            Ok(has_more) => {
                trouble = None;
                if has_more { Duration::ZERO } else { INTERVAL }
            }
            Err(Failure::Call(error)) if passes(&error) => {
                let wait = trouble.map_or(INTERVAL, |before: Duration| (before * 2).min(LONGEST_WAIT));
                if trouble.replace(wait).is_none() {
                    hint(&format!("{error}; waiting for it"));
                }
                error.retry_delay().map_or(wait, |delay| delay.max(wait))
            }
            Err(failure) => return Err(failure),
        };
        tokio::time::sleep(wait).await;
    }
}

/// Shows what has come; whether there is more.
async fn look(tail: &mut AuditTail, json: bool, output: &mut Output) -> Result<bool, Failure> {
    let (events, has_more) = tail.next().await?;
    show(events, json, output)?;
    Ok(has_more)
}

/// Whether the same question may be answered later.
fn passes(error: &Error) -> bool {
    error.is_retryable() || matches!(error.code(), Code::DeadlineExceeded | Code::Internal | Code::Cancelled)
}

fn show(events: Vec<AuditEvent>, json: bool, output: &mut Output) -> Result<(), Failure> {
    events.into_iter().try_for_each(|event| if json { output.document(&json_of(event)) } else { output.line(&line(event)) })
}

/// An event's cells: when, what, whether it worked, who, to whom, to what, from where, by which request, and what is to be said beside it.
fn cells(event: AuditEvent) -> [String; 9] {
    let result = if event.failure.is_empty() { "ok".to_owned() } else { event.failure };
    // A name says more than an id; an id says more than nothing.
    let either = |name: String, id: String| if name.is_empty() { id } else { name };
    let (who, whom) = (either(event.actor_name, event.actor_user_id), either(event.subject_name, event.subject_user_id));
    [time(event.created_at), event.action, result, who, whom, event.subject_id, event.address, event.request_id, event.detail]
}

/// An event on a line of its own: the cells in a table's order, without the widths that only a whole table has.
fn line(event: AuditEvent) -> String {
    /// What the longest of most cells take.
    const WIDTHS: [usize; 9] = [20, 23, 2, 12, 12, 12, 9, 36, 0];
    let shown = cells(event).map(|cell| if cell.is_empty() { "-".to_owned() } else { one_line(&cell) });
    let padded = shown.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:width$}"));
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// An event as one JSON object: the contract's fields by their JSON names, without those that are empty.
fn json_of(event: AuditEvent) -> Value {
    let created_at = event.created_at.map(|time| time.to_string()).unwrap_or_default();
    let fields = [
        ("createdAt", created_at),
        ("actorUserId", event.actor_user_id),
        ("action", event.action),
        ("subjectUserId", event.subject_user_id),
        ("subjectId", event.subject_id),
        ("eventId", event.event_id),
        ("actorName", event.actor_name),
        ("subjectName", event.subject_name),
        ("failure", event.failure),
        ("address", event.address),
        ("requestId", event.request_id),
        ("actorCredentialId", event.actor_credential_id),
        ("detail", event.detail),
        ("client", event.client),
    ];
    let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
    Value::Object(fields.map(|(name, value)| (name.to_owned(), Value::String(value))).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> AuditEvent {
        AuditEvent {
            created_at: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 123_000_000 }),
            actor_user_id: "0123456789abcdef".into(),
            action: "disable_user".into(),
            subject_user_id: "fedcba9876543210".into(),
            event_id: "c1".into(),
            actor_name: "root".into(),
            address: "192.0.2.1".into(),
            request_id: "r1".into(),
            detail: "left\nthe \"company\"".into(),
            ..AuditEvent::default()
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_its_texts_hold_and_says_who_whom_and_whether_it_worked() {
        let line = line(event());
        let words: Vec<&str> = line.split_whitespace().collect();
        let shown = "2026-09-21T14:13:20Z disable_user ok root fedcba9876543210 - 192.0.2.1 r1 left the \"company\"";
        assert_eq!(words.join(" "), shown);
        let failed = cells(AuditEvent { failure: "ROLE_REQUIRED".into(), actor_name: String::new(), ..event() });
        assert_eq!(failed[2..4], ["ROLE_REQUIRED".to_owned(), "0123456789abcdef".to_owned()]);
    }

    #[test]
    fn an_event_is_one_json_object_on_one_line_without_what_is_empty() {
        let text = json_of(event()).to_string();
        assert!(!text.contains('\n'), "{text}");
        let read: Map<String, Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(read["createdAt"], "2026-09-21T14:13:20.123Z");
        assert_eq!(read["detail"], "left\nthe \"company\"");
        assert!(!read.contains_key("failure") && !read.contains_key("client"), "{text}");
    }
}
