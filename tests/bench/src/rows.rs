//! The rows of the report: what each one is, and what it must be.

use serde::Serialize;

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The figure must not be lower.
    AtLeast,
    /// The figure must not be higher.
    AtMost,
}

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Row {
    /// For programs.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
    /// Of the figure; empty: a ratio.
    pub unit: &'static str,
    /// Which way is better.
    pub bound: Bound,
    /// What it must be.
    pub must: f64,
    /// What it should be.
    pub aim: f64,
}

/// What a figure is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As good as it should be.
    Aim,
    /// As good as it must be.
    Must,
    /// Neither.
    Missed,
}

impl Row {
    /// What a figure is worth.
    #[must_use]
    pub fn verdict(&self, figure: f64) -> Verdict {
        let within = |bound: f64| match self.bound {
            Bound::AtLeast => figure >= bound,
            Bound::AtMost => figure <= bound,
        };
        if within(self.aim) {
            Verdict::Aim
        } else if within(self.must) {
            Verdict::Must
        } else {
            Verdict::Missed
        }
    }

    /// Its title, with the unit.
    #[must_use]
    pub fn heading(&self) -> String {
        if self.unit.is_empty() { self.title.to_owned() } else { format!("{}, {}", self.title, self.unit) }
    }

    /// What its figure must be and should be, such as `≥ 0.8`.
    #[must_use]
    pub fn bounds(&self) -> [String; 2] {
        let sign = if self.bound == Bound::AtLeast { '≥' } else { '≤' };
        [self.must, self.aim].map(|bound| format!("{sign} {bound}"))
    }

    /// The row with this id.
    #[must_use]
    pub fn of(id: &str) -> &'static Self {
        ROWS.iter().find(|row| row.id == id).unwrap_or_else(|| panic!("there is no row {id}"))
    }
}

const fn row(id: &'static str, title: &'static str, unit: &'static str, bound: Bound, must: f64, aim: f64) -> Row {
    Row { id, title, unit, bound, must, aim }
}

use Bound::{AtLeast, AtMost};

/// All rows, in the order of the report.
pub const ROWS: [Row; 33] = [
    row("check_vs_script_32", "Check / one-script, calls per second, 32 callers", "", AtLeast, 0.80, 0.95),
    row("check_vs_script_128", "Check / one-script, calls per second, 128 callers", "", AtLeast, 0.80, 0.95),
    row("check_vs_echo_32", "Check / echo, calls per second, 32 callers", "", AtLeast, 0.40, 0.50),
    row("check_vs_echo_128", "Check / echo, calls per second, 128 callers", "", AtLeast, 0.40, 0.50),
    row("check_cpu_vs_script", "auth-service's CPU per Check / one-script's per call", "", AtMost, 1.3, 1.1),
    row("check_p50_vs_script", "Check's p50 / one-script's, one caller", "", AtMost, 1.25, 1.1),
    row("script_us_vs_script", "Redis's time in scripts, Check / one-script", "", AtMost, 2.0, 1.4),
    row("evalsha_per_check", "evalsha calls per Check, one caller", "", AtMost, 1.0, 1.0),
    row("evalsha_per_check_128", "the same, 128 callers", "", AtMost, 1.0, 1.0),
    row("evalsha_per_extend", "evalsha calls per Extend", "", AtMost, 1.0, 1.0),
    row("evalsha_per_settle", "evalsha calls per Settle", "", AtMost, 1.0, 1.0),
    row("token_cpu_vs_key", "auth-service's CPU per Check, access token / API key", "", AtMost, 1.2, 1.05),
    row("check_p99_beside_logins", "Check's p99 beside 500 log-ins at a time / without them", "", AtMost, 3.0, 1.5),
    row("chat_vs_chain", "whole chat / chain, calls per second, 16 callers", "", AtLeast, 1.0, 1.33),
    row("chat_cpu_vs_chain", "whole chat / chain, CPU of all services and Redis", "", AtMost, 1.0, 0.75),
    row("settle_us_vs_check", "Redis's time in scripts, Settle / Check, 16 callers", "", AtMost, 1.5, 1.1),
    row("chat_redis_vs_chain", "Redis's CPU, whole chat / chain, which makes two one-script calls", "", AtMost, 2.0, 1.4),
    row("http_cpu_one", "a chat by HTTP / by gRPC, services' CPU: 1 token, streamed", "", AtMost, 1.15, 1.05),
    row("http_cpu_one_whole", "the same, whole", "", AtMost, 1.15, 1.05),
    row("http_cpu_many", "the same, 128 tokens at once, a write for each, streamed", "", AtMost, 1.15, 1.05),
    row("http_cpu_many_whole", "the same, whole", "", AtMost, 1.15, 1.05),
    row("http_cpu_paced", "the same for each token, streamed, a token each 10 ms", "", AtMost, 1.15, 1.05),
    row("auth_mib", "auth-service's memory after its first call", "MiB", AtMost, 24.0, 16.0),
    row("inference_mib", "inference-service's memory after its first call", "MiB", AtMost, 24.0, 16.0),
    row("tokens_per_cpu_vs_reader", "tokens per CPU second, gateway / reader, saturated", "", AtLeast, 0.40, 0.60),
    row("tokens_per_cpu_vs_reader_singly", "the same, a write for each token", "", AtLeast, 0.40, 0.60),
    row("cpu_per_token", "gateway's CPU per token, saturated", "µs", AtMost, 4.0, 2.0),
    row("cpu_per_token_singly", "the same, a write for each token", "µs", AtMost, 4.0, 2.0),
    row("first_token_p50", "first token's p50 over reader + Check / echo's p50", "", AtMost, 0.8, 0.3),
    row("first_token_p99", "the same, p99", "", AtMost, 2.5, 1.0),
    row("gap_p99", "time between tokens, added over reader, paced, p99", "µs", AtMost, 200.0, 50.0),
    row("kib_per_idle_stream", "inference-service's memory per idle stream", "KiB", AtMost, 20.0, 10.0),
    row("sqlite_vs_fsync", "SQLite: Checks per second, 64 callers / its disk's fsyncs", "", AtLeast, 5.0, 15.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_held_against_its_bounds_whichever_way_is_better() {
        let (high, low) = (Row::of("check_vs_script_32"), Row::of("cpu_per_token"));
        assert_eq!([0.95, 0.8, 0.79].map(|figure| high.verdict(figure)), [Verdict::Aim, Verdict::Must, Verdict::Missed]);
        assert_eq!([2.0, 4.0, 4.1].map(|figure| low.verdict(figure)), [Verdict::Aim, Verdict::Must, Verdict::Missed]);
        assert_eq!(low.verdict(f64::NAN), Verdict::Missed);
    }

    #[test]
    fn no_aim_is_easier_than_its_must() {
        for row in ROWS {
            assert_ne!(row.verdict(row.aim), Verdict::Missed, "{}", row.id);
            assert_eq!(ROWS.iter().filter(|other| other.id == row.id).count(), 1, "{}", row.id);
        }
    }
}
