//! Exchanges with a real Ollama, as they were recorded, for the scripted upstream to play.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::scripted_upstream::Script;

/// A recorded exchange.
#[derive(Debug, Clone, Deserialize)]
pub struct Exchange {
    /// The file's name, without `.json`.
    #[serde(skip)]
    pub name: String,
    /// How a failing test calls it.
    #[serde(skip)]
    pub label: String,
    /// What was sent.
    pub request: RecordedCall,
    /// What came back.
    pub response: RecordedAnswer,
}

/// What was sent.
#[derive(Debug, Clone, Deserialize)]
pub struct RecordedCall {
    /// For example `POST`.
    pub method: String,
    /// For example `/api/chat`.
    pub path: String,
    /// Beyond the usual ones.
    pub headers: BTreeMap<String, String>,
    /// As text; may be no JSON.
    pub body: String,
}

impl RecordedCall {
    /// The body as JSON; null when it isn't.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// What came back.
#[derive(Debug, Clone, Deserialize)]
pub struct RecordedAnswer {
    /// The status line, for example `HTTP/1.1 200 OK`.
    pub status: String,
    /// Milliseconds from the request to the head.
    pub head_ms: f64,
    /// As they came.
    pub headers: BTreeMap<String, String>,
    /// Milliseconds from the request, and the text of one HTTP chunk.
    pub reads: Vec<(f64, String)>,
    /// Whether the connection broke.
    pub closed_early: bool,
}

impl RecordedAnswer {
    /// For example 200.
    #[must_use]
    #[expect(clippy::expect_used, reason = "only tests call this, and a panic is how they fail")]
    pub fn status_code(&self) -> u16 {
        self.status.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line")
    }

    /// All of the body.
    #[must_use]
    pub fn body(&self) -> String {
        self.reads.iter().map(|(_, text)| text.as_str()).collect()
    }
}

impl Exchange {
    /// Plays the answer at its recorded chunks, with the recorded times multiplied by `time`: 1 as it was, 0 without waiting.
    #[must_use]
    pub fn script(&self, time: f64) -> Script {
        let RecordedAnswer { head_ms, headers, reads, closed_early, .. } = &self.response;
        let status = self.response.status_code();
        let chunked = headers.get("Transfer-Encoding").is_some_and(|value| value == "chunked");
        let mut script = if chunked { Script::chunked(status) } else { Script::empty(status) };
        for (name, value) in headers {
            if !matches!(name.as_str(), "Transfer-Encoding" | "Content-Length") {
                script = script.header(name, value);
            }
        }
        let scaled = |ms: f64| Duration::from_secs_f64((ms * time / 1000.0).max(0.0));
        let mut now = *head_ms;
        script = script.head_delay(scaled(now));
        for (at, text) in reads {
            let wait = scaled(at - now);
            now = now.max(*at);
            if !wait.is_zero() {
                script = script.pause(wait);
            }
            script = script.chunk(text.clone());
        }
        if self.name == "chat-client-stops-after-3" {
            // The client closed the connection after these: Ollama had more to say.
            return script.stall();
        }
        if *closed_early { script.close_early() } else { script }
    }
}

/// A release of Ollama whose exchanges were recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// 0.24.0.
    V0_24,
    /// 0.32.15.
    V0_32,
}

impl Release {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::V0_24, Self::V0_32];

    fn folder(self) -> PathBuf {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        match self {
            Self::V0_24 => fixtures.join("ollama-wire"),
            Self::V0_32 => fixtures.join("ollama-wire-0.32"),
        }
    }

    /// One exchange, by its file's name without `.json`.
    #[must_use]
    #[expect(clippy::expect_used, reason = "only tests call this, and a panic is how they fail")]
    pub fn exchange(self, name: &str) -> Exchange {
        let text = std::fs::read_to_string(self.folder().join(format!("{name}.json"))).expect("a recorded exchange");
        let mut exchange: Exchange = serde_json::from_str(&text).expect("an exchange as JSON");
        name.clone_into(&mut exchange.name);
        exchange.label = format!("{name} of {self:?}");
        exchange
    }

    /// The name of every exchange, in order.
    #[must_use]
    #[expect(clippy::expect_used, reason = "only tests call this, and a panic is how they fail")]
    pub fn names(self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder()).expect("the folder of recorded exchanges");
        let mut names: Vec<String> = files
            .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
            .filter_map(|name| name.strip_suffix(".json").map(ToOwned::to_owned))
            .collect();
        names.sort();
        names
    }
}

/// What a table says of each exchange of each release: a row of the first table, or one of the second where 0.32 answers differently.
/// Panics when an exchange has no row or two, when a row has no exchange, or when the second table repeats a row of the first.
#[must_use]
#[expect(clippy::panic, reason = "only tests call this, and a panic is how they fail")]
pub fn with_rows<R: Copy + PartialEq + std::fmt::Debug>(rows: &[(&str, R)], differing: &[(&str, R)]) -> Vec<(Release, Exchange, R)> {
    let row = |table: &[(&str, R)], name: &str| {
        let found: Vec<R> = table.iter().filter(|(known, _)| *known == name).map(|(_, row)| *row).collect();
        assert!(found.len() <= 1, "{name} has two rows");
        found.first().copied()
    };
    for (name, differs) in differing {
        assert_ne!(row(rows, name), Some(*differs), "{name} is the same in both releases");
    }
    let mut all = Vec::new();
    for release in Release::ALL {
        for name in release.names() {
            let own = if release == Release::V0_32 { row(differing, &name) } else { None };
            let Some(found) = own.or_else(|| row(rows, &name)) else { panic!("{name} of {release:?} needs a row") };
            all.push((release, release.exchange(&name), found));
        }
    }
    for (name, _) in rows.iter().chain(differing) {
        assert!(all.iter().any(|(_, exchange, _)| exchange.name == *name), "the row {name} has no file");
    }
    for (name, _) in differing {
        assert!(Release::V0_32.names().iter().any(|known| known == name), "the row {name} of 0.32 has no file");
    }
    all
}
