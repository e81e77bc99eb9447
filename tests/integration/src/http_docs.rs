//! The parts of docs/http.md that are made from the code: which doors there are, what each refuses, and what each error is.
//! `scripts/http-docs` makes them anew.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;

use auth_service::doors as auth;
use inference_service::doors as inference;
use shared::authorization::CallerKind;
use shared::doors::openapi::{Answerer, ExplainedReason, RefusalSample, explained_reasons, refusal_samples, told_by_connect};
use shared::doors::{Door, Route};
use shared::error::reason_name;

/// The page.
pub const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http.md");

/// What isn't taken somewhere, each with why.
type Refused = (&'static str, &'static [(&'static str, &'static str)]);

const REFUSED: &[Refused] = &[
    ("`POST /v1/chat/completions`", inference::openai::CHAT_REFUSED),
    ("`POST /v1/completions`", inference::openai::COMPLETION_REFUSED),
    ("`POST /v1/embeddings`", inference::openai::EMBEDDINGS_REFUSED),
    ("`POST /v1/responses`", inference::responses::REFUSED),
    ("`POST /v1/messages`", inference::anthropic::REFUSED),
    ("`POST /api/chat` and `POST /api/generate`", inference::ollama::REFUSED),
    ("`POST /api/create`", inference::ollama::CREATE_REFUSED),
    ("Paths of Ollama's", inference::ollama::PATHS_REFUSED),
    ("`POST /token`", auth::TOKEN_REFUSED),
    ("`POST /device_authorization`", auth::DEVICE_AUTHORIZATION_REFUSED),
    ("`POST /revoke`", auth::REVOKE_REFUSED),
    ("`POST /introspect`", auth::INTROSPECT_REFUSED),
    ("`GET /users/me`", auth::USERS_ME_REFUSED),
    ("`/account/session`, and below", auth::ACCOUNT_SESSION_REFUSED),
    ("`POST /account/session/issuer`", auth::ACCOUNT_SIGN_IN_REFUSED),
];

/// Of a line that isn't a table's.
const MOST_CHARACTERS: usize = 140;

/// What is taken somewhere and changes no answer.
const TAKEN: &[(&str, &[&str])] = &[
    ("`POST /v1/chat/completions`", inference::openai::CHAT_TAKEN),
    ("`POST /v1/completions`", inference::openai::COMPLETION_TAKEN),
    ("`POST /v1/responses`", inference::responses::TAKEN),
    ("`POST /v1/messages`", inference::anthropic::TAKEN),
];

/// The page with its generated parts made anew; the rest as it is. It is called on a runtime.
///
/// # Errors
/// A part's marks are missing, or the doors can't be described.
pub fn renewed(page: &str) -> Result<String, Box<dyn Error>> {
    let doors = [(Answerer::Auth, auth::described()?), (Answerer::Inference, inference::published::described()?)];
    let page = with_part(page, "doors", &doors_part(&doors))?;
    let page = with_part(&page, "refused", &refused_part())?;
    with_part(&page, "errors", &errors_part(&doors))
}

/// Puts a part between its marks.
fn with_part(page: &str, name: &str, part: &str) -> Result<String, Box<dyn Error>> {
    let (begin, end) = (format!("<!-- {name}: made from the code by scripts/http-docs -->\n"), format!("<!-- end of {name} -->\n"));
    let (before, rest) = page.split_once(&begin).ok_or_else(|| format!("the page has no line {begin:?}"))?;
    let (_, after) = rest.split_once(&end).ok_or_else(|| format!("the page has no line {end:?}"))?;
    Ok(format!("{before}{begin}\n{part}\n{end}{after}"))
}

fn service_name(answerer: Answerer) -> &'static str {
    match answerer {
        Answerer::Auth => "auth-service",
        Answerer::Inference => "inference-service",
    }
}

fn doors_part(doors: &[(Answerer, Vec<Door>)]) -> String {
    let mut part = String::new();
    for (answerer, doors) in doors {
        line(&mut part, &format!("**{}**\n", service_name(*answerer)));
        row(&mut part, &["door", "path", "what it does", "credential", "longest body"]);
        row(&mut part, &["---"; 5]);
        for door in doors {
            for route in &door.routes {
                let path = format!("`{route:?}`");
                row(&mut part, &[door.name, &path, route.summary, credential(route), &longest(route)]);
            }
        }
        line(&mut part, "");
    }
    part.trim_end().to_owned() + "\n"
}

fn credential(route: &Route) -> &'static str {
    match route.policy.caller {
        CallerKind::Anybody => "none",
        CallerKind::EndUser => "API key or access token",
        CallerKind::Service => "service credential",
        CallerKind::ServiceOrOperator => "service credential, or an operator's access token",
    }
}

fn longest(route: &Route) -> String {
    match route.policy.most_bytes {
        _ if route.taking.is_none() => String::new(),
        bytes if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes => format!("{} KiB", bytes >> 10),
    }
}

fn refused_part() -> String {
    let mut part = String::new();
    for (place, refused) in REFUSED {
        line(&mut part, &format!("{place}:\n"));
        row(&mut part, &["what", "why"]);
        row(&mut part, &["---"; 2]);
        for (what, why) in *refused {
            row(&mut part, &[&format!("`{what}`"), why]);
        }
        line(&mut part, "");
        if let Some((_, taken)) = TAKEN.iter().find(|(of, _)| of == place) {
            let taken: Vec<_> = taken.iter().map(|name| format!("`{name}`")).collect();
            line(&mut part, &format!("{}.\n", wrapped(&format!("Taken, and without effect on an answer: {}", taken.join(", ")))));
        }
    }
    part.trim_end().to_owned() + "\n"
}

/// Where a protocol has its own word for an error, that word.
fn errors_part(doors: &[(Answerer, Vec<Door>)]) -> String {
    let all = doors.iter().flat_map(|(answerer, doors)| doors.iter().map(|door| (door.name, refusal_samples(door, *answerer))));
    let columns: Vec<(&str, Vec<RefusalSample>)> = all.collect();
    let mut part = String::new();
    let names = columns.iter().filter(|(_, samples)| has_words(samples)).map(|(name, _)| *name);
    let heads: Vec<&str> = ["`code`", "what it means", "HTTP", "Connect"].into_iter().chain(names).collect();
    row(&mut part, &heads);
    row(&mut part, &vec!["---"; heads.len()]);
    for explained in explained_reasons() {
        row(&mut part, &error_row(&explained, &columns).iter().map(String::as_str).collect::<Vec<_>>());
    }
    part
}

fn error_row(explained: &ExplainedReason, columns: &[(&str, Vec<RefusalSample>)]) -> Vec<String> {
    let ExplainedReason { reason, meaning, .. } = explained;
    let of_reason = |samples: &[RefusalSample]| -> Vec<RefusalSample> {
        samples.iter().filter(|sample| sample.explained.reason == *reason).cloned().collect()
    };
    let statuses = columns.iter().flat_map(|(_, samples)| of_reason(samples)).map(|sample| sample.status.as_str().to_owned());
    let (code, by_connect) = told_by_connect(explained);
    let mut cells =
        vec![format!("`{}`", reason_name(*reason)), meaning.clone(), each_once(statuses), format!("{} `{code}`", by_connect.as_str())];
    for (_, samples) in columns.iter().filter(|(_, samples)| has_words(samples)) {
        cells.push(each_once(of_reason(samples).iter().filter_map(RefusalSample::kind).map(|kind| format!("`{kind}`"))));
    }
    cells
}

/// Whether a door's protocol has words of its own for errors.
fn has_words(samples: &[RefusalSample]) -> bool {
    samples.iter().any(|sample| sample.kind().is_some())
}

fn each_once(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

/// A text in lines of at most 140 characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let is_full = lines.last().is_some_and(|line| line.chars().count() + 1 + word.chars().count() > MOST_CHARACTERS - 1);
        if is_full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

fn row(part: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    line(part, &format!("| {} |", cells.join(" | ")));
}

fn line(part: &mut String, text: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(part, "{text}");
}
