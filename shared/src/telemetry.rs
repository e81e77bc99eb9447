//! Structured logs on standard error: for people on a terminal, JSON otherwise.

use std::fmt;
use std::io::IsTerminal;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, format};
use tracing_subscriber::registry::LookupSpan;

use crate::env::Reader;
use crate::request_context::CurrentCall;

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
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let installed = match self.format {
            LogFormat::Human => builder.event_format(CallFormat { lines: human(colours), json: false }).try_init(),
            LogFormat::Json => builder.json().event_format(CallFormat { lines: json(), json: true }).try_init(),
        };
        if installed.is_err() {
            tracing::debug!("logging was started before");
        }
    }
}

/// Lines for people.
fn human(colours: bool) -> Format {
    format().with_target(false).with_ansi(colours)
}

/// One JSON object a line.
fn json() -> Format<format::Json> {
    format().json().flatten_event(true).with_current_span(true).with_span_list(false)
}

/// Lines that say which call they are about: people read it at a line's end, programs find the fields `request_id` and `method`.
struct CallFormat<F> {
    lines: F,
    json: bool,
}

impl<S, N, F> FormatEvent<S, N> for CallFormat<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let call = CurrentCall::get();
        let (Some(request_id), Some(method)) = (call.request_id(), call.method()) else {
            return self.lines.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.lines.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        if self.json {
            let fields = line.strip_suffix('}').ok_or(fmt::Error)?;
            // Debug quotes and escapes as JSON does, since both are printable ASCII.
            return writeln!(writer, "{fields},\"request_id\":{request_id:?},\"method\":{method:?}}}");
        }
        writeln!(writer, "{line} {call}")
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
pub fn report_fatal(process: &str, error: &dyn std::fmt::Display) {
    eprintln!("{process}: {error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written of an event, by a format, outside and within a call.
    fn written<F>(lines: fn() -> F, json: bool) -> [String; 2]
    where
        CallFormat<F>: FormatEvent<tracing_subscriber::Registry, format::JsonFields> + Send + Sync + 'static,
        CallFormat<F>: FormatEvent<tracing_subscriber::Registry, format::DefaultFields>,
    {
        #[derive(Clone, Default)]
        struct Sink(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl std::io::Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        [CurrentCall::get(), CurrentCall::of("id-\"1\"", "/p.S/M")].map(|call| {
            let sink = Sink::default();
            let written = sink.clone();
            let builder = tracing_subscriber::fmt().with_writer(move || sink.clone());
            let log = || call.enter(|| tracing::info!(credits = 3, "settled"));
            if json {
                let subscriber = builder.json().event_format(CallFormat { lines: lines(), json }).finish();
                tracing::subscriber::with_default(subscriber, log);
            } else {
                let subscriber = builder.event_format(CallFormat { lines: lines(), json }).finish();
                tracing::subscriber::with_default(subscriber, log);
            }
            let bytes = written.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap()
        })
    }

    #[test]
    fn each_line_says_which_call_it_is_about() {
        let [alone, within] = written(json, true);
        assert!(alone.contains("\"credits\":3") && !alone.contains("request_id"), "{alone}");
        assert!(within.ends_with(",\"request_id\":\"id-\\\"1\\\"\",\"method\":\"/p.S/M\"}\n"), "{within}");
        assert_eq!(within.lines().count(), 1);
        let [alone, within] = written(|| human(false), false);
        assert!(alone.ends_with("settled credits=3\n"), "{alone}");
        assert!(within.ends_with("settled credits=3 call{request_id=id-\"1\" method=/p.S/M}\n"), "{within}");
    }

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
