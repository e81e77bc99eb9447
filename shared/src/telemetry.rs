//! Structured logs on standard error: for people on a terminal, JSON otherwise.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter, format};
use tracing_subscriber::registry::LookupSpan;

use crate::env::Reader;
use crate::log_writer::LogWriter;
use crate::request_context::CurrentCall;

/// The log of this process, once logging was started.
static LOG: OnceLock<LogWriter> = OnceLock::new();

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

    /// Starts logging for this process, with a thread that writes the lines (see `log_writer`). A second call changes nothing.
    ///
    /// From then on panics are part of the log. [`FlushOnDrop`] or [`report_fatal`] must come last in the process.
    pub fn install(&self) {
        if LOG.get().is_some() {
            tracing::debug!("logging was started before");
            return;
        }
        match LogWriter::start(self.format, io::stderr()) {
            Ok(log) => {
                let log = LOG.get_or_init(|| log);
                self.subscribe(log.clone());
                std::panic::set_hook(Box::new(|panic| log.write_panic(&panic_text(panic))));
            }
            Err(error) => {
                self.subscribe(io::stderr);
                tracing::warn!(%error, "the log has no thread of its own: calls wait while it is written");
            }
        }
    }

    /// Has the lines of this process written by this writer.
    fn subscribe(&self, writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
        let filter = EnvFilter::try_new(with_rules(&self.filter)).unwrap_or_else(|_| EnvFilter::new(with_rules("info")));
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
        let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let installed = match self.format {
            LogFormat::Human => builder.event_format(CallFormat { lines: human(colours), json: false }).try_init(),
            LogFormat::Json => builder.json().event_format(CallFormat { lines: json(), json: true }).try_init(),
        };
        if installed.is_err() {
            tracing::debug!("logging was started before");
        }
    }
}

/// What the standard library's own hook prints of a panic.
fn panic_text(panic: &PanicHookInfo<'_>) -> String {
    let (thread, backtrace) = (std::thread::current(), Backtrace::capture());
    let text = format!("\nthread '{}' {panic}\n", thread.name().unwrap_or("<unnamed>"));
    if backtrace.status() == BacktraceStatus::Captured { format!("{text}stack backtrace:\n{backtrace}\n") } else { text }
}

/// Lines for people.
fn human(colours: bool) -> Format {
    format().with_target(false).with_ansi(colours)
}

/// One JSON object a line.
fn json() -> Format<format::Json> {
    format().json().flatten_event(true).with_current_span(true).with_span_list(false)
}

/// What a line takes with what it says of its call.
const LINE_BYTES: usize = 512;

/// Lines that say which call they are about: people read it at a line's end, programs find the fields `x_request_id` and `method`.
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
        let mut line = String::with_capacity(LINE_BYTES);
        self.lines.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        if self.json {
            let fields = line.strip_suffix('}').ok_or(fmt::Error)?;
            // Debug quotes and escapes as JSON does, since both are printable ASCII.
            return writeln!(writer, "{fields},\"x_request_id\":{request_id:?},\"method\":{method:?}}}");
        }
        writeln!(writer, "{line} {call}")
    }
}

/// Where tonic logs each error of a message's decoding, whole: some repeat what was sent, for its sender alone.
const ERRORS_OF_DECODING: &str = "tonic::codec::decode=off";
/// Where each handshake with a server that isn't trusted is logged. The client that fails says so once.
const ERRORS_OF_VERIFICATION: &str = "rustls_platform_verifier=off";

/// A filter with the rules that hold whatever it says.
fn with_rules(filter: &str) -> String {
    format!("{},{ERRORS_OF_DECODING},{ERRORS_OF_VERIFICATION}", with_audit(filter))
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

/// Says on standard error why a process ends, and writes all lines before it. For what must be read whether or not logging was started, and
/// whatever its filter.
pub fn report_fatal(process: &str, error: &dyn fmt::Display) {
    let text = format!("{process}: {error}\n");
    match LOG.get() {
        Some(log) => log.write_fatal(&text),
        None => {
            // Nobody is left to tell when standard error is closed.
            let _unread = io::stderr().write_all(text.as_bytes());
        }
    }
}

/// Dropped, by a panic too, it waits until all lines are written. A process holds it to its end.
#[derive(Debug, Default)]
pub struct FlushOnDrop(());

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        LOG.get().inspect(|log| log.flush());
    }
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
        assert!(alone.contains("\"credits\":3") && !alone.contains("x_request_id"), "{alone}");
        assert!(within.ends_with(",\"x_request_id\":\"id-\\\"1\\\"\",\"method\":\"/p.S/M\"}\n"), "{within}");
        assert_eq!(within.lines().count(), 1);
        let [alone, within] = written(|| human(false), false);
        assert!(alone.ends_with("settled credits=3\n"), "{alone}");
        assert!(within.ends_with("settled credits=3 call{x_request_id=id-\"1\" method=/p.S/M}\n"), "{within}");
    }

    #[test]
    fn errors_of_decoding_are_logged_at_no_level() {
        let filter = EnvFilter::try_new(with_rules("trace")).unwrap();
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::sink).finish();
        let [of_decoding, others] = tracing::subscriber::with_default(subscriber, || {
            [tracing::enabled!(target: "tonic::codec::decode", tracing::Level::ERROR), tracing::enabled!(tracing::Level::TRACE)]
        });
        assert!(!of_decoding && others);
    }

    #[test]
    fn the_audit_trail_is_logged_whatever_the_filter_unless_it_names_audit() {
        let audited = |filter: &str| {
            let filter = EnvFilter::try_new(with_rules(filter)).unwrap();
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
