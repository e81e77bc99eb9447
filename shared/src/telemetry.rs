//! Structured logs on standard error: for people on a terminal, JSON otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::env::Reader;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Levels by target, as `tracing_subscriber::EnvFilter` writes them. The audit trail (the target `audit`) is logged whatever they say,
    /// unless they name `audit` themselves.
    pub filter: String,
    /// How.
    pub format: LogFormat,
}

impl LogConfig {
    /// Reads `TOLLGATE_LOG` and `TOLLGATE_LOG_FORMAT`.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let check = |value: &str| {
            let parsed = EnvFilter::try_new(value).map(|_| value.to_owned());
            parsed.map_err(|_| {
                format!("must be a level or a list of target=level, such as info or info,auth_service=debug, and is {value:?}")
            })
        };
        let filter = reader.parse("TOLLGATE_LOG", check).unwrap_or_else(|| "info".to_owned());
        let by_terminal = || if std::io::stderr().is_terminal() { LogFormat::Human } else { LogFormat::Json };
        let format = reader.parse("TOLLGATE_LOG_FORMAT", |value| match value {
            "auto" => Ok(by_terminal()),
            "human" => Ok(LogFormat::Human),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("must be auto, human or json, and is {value:?}")),
        });
        Self { filter, format: format.unwrap_or_else(by_terminal) }
    }

    /// Starts logging for this process. A second call changes nothing.
    pub fn install(&self) {
        let filter = EnvFilter::try_new(with_audit(&self.filter)).unwrap_or_else(|_| EnvFilter::new(with_audit("info")));
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let installed = match self.format {
            LogFormat::Human => builder.with_target(false).try_init(),
            LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        };
        if installed.is_err() {
            tracing::debug!("logging was started before");
        }
    }
}

/// A filter that lets the audit trail through, unless it says by name what becomes of that.
fn with_audit(filter: &str) -> String {
    let names_audit = |directive: &str| directive.split(['=', '[']).next().is_some_and(|target| target.trim() == "audit");
    if filter.split(',').any(names_audit) {
        filter.to_owned()
    } else if filter.trim().is_empty() {
        "audit=info".to_owned()
    } else {
        format!("{filter},audit=info")
    }
}

/// Says on standard error why a process ends. For what must be read whether or not logging was started, and whatever its filter.
#[expect(clippy::print_stderr, reason = "a process's last words go to its standard error")]
pub fn last_words(process: &str, error: &dyn std::fmt::Display) {
    eprintln!("{process}: {error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_trail_is_logged_whatever_the_filter_unless_it_names_audit() {
        let audited = |filter: &str| {
            let filter = EnvFilter::try_new(with_audit(filter)).unwrap();
            let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::sink).finish();
            tracing::subscriber::with_default(subscriber, || tracing::enabled!(target: "audit", tracing::Level::INFO))
        };
        for filter in ["", "info", "warn", "off", "error,auth_service=debug", "auth_service[answer{audit=1}]=warn", "warn,audited=off"] {
            assert!(audited(filter), "{filter:?}");
        }
        for filter in ["audit=off", "info,audit=warn", "debug,audit=error,h2=off"] {
            assert!(!audited(filter), "{filter:?}");
        }
    }
}
