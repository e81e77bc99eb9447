//! What is read of other processes while load is on them: processor time and memory from Linux's `/proc`, and Redis's own count of what its
//! scripts took.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

/// What to watch.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Watch {
    /// Process ids, by the names that they have in the report.
    pub processes: BTreeMap<String, u32>,
    /// A Redis.
    pub redis: Option<String>,
}

/// Figures that only ever grow, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    cpu_ns: BTreeMap<String, u64>,
    evalsha: Evalsha,
}

/// What Redis says of `EVALSHA` in `INFO commandstats`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Evalsha {
    /// Calls.
    pub calls: u64,
    /// Microseconds in them.
    pub usec: u64,
}

/// What was spent between two readings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Processor time in microseconds, by process.
    pub cpu_us: BTreeMap<String, f64>,
    /// Scripts.
    pub evalsha: Evalsha,
}

/// Reads what is watched.
pub struct Gauge {
    processes: BTreeMap<String, u32>,
    redis: Option<redis::Connection>,
}

impl Gauge {
    /// Connects to what is watched. This process is watched too, as `load`.
    #[must_use]
    pub fn of(watch: &Watch) -> Self {
        let mut processes = watch.processes.clone();
        processes.insert("load".to_owned(), std::process::id());
        let connect = |url: &String| redis::Client::open(url.as_str()).and_then(|client| client.get_connection()).expect("Redis answers");
        Self { processes, redis: watch.redis.as_ref().map(connect) }
    }

    /// Reads all figures.
    #[must_use]
    pub fn read(&mut self) -> Reading {
        let cpu_ns = self.processes.iter().map(|(name, pid)| (name.clone(), cpu_ns(*pid))).collect();
        Reading { cpu_ns, evalsha: self.redis.as_mut().map(evalsha).unwrap_or_default() }
    }
}

impl Reading {
    /// What was spent since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Spent {
        let spent = |(name, now): (&String, &u64)| {
            let before = earlier.cpu_ns.get(name).copied().unwrap_or_default();
            (name.clone(), now.saturating_sub(before) as f64 / 1000.0)
        };
        let evalsha = Evalsha {
            calls: self.evalsha.calls.saturating_sub(earlier.evalsha.calls),
            usec: self.evalsha.usec.saturating_sub(earlier.evalsha.usec),
        };
        Spent { cpu_us: self.cpu_ns.iter().map(spent).collect(), evalsha }
    }
}

impl Spent {
    /// Processor time of one process, in microseconds; 0 when it was not watched.
    #[must_use]
    pub fn cpu_us_of(&self, process: &str) -> f64 {
        self.cpu_us.get(process).copied().unwrap_or_default()
    }

    /// Adds what was spent at another time.
    pub fn add(&mut self, other: &Self) {
        for (name, us) in &other.cpu_us {
            *self.cpu_us.entry(name.clone()).or_default() += us;
        }
        self.evalsha.calls += other.evalsha.calls;
        self.evalsha.usec += other.evalsha.usec;
    }
}

/// Processor time of all threads of a process that run, in nanoseconds. (`/proc/PID/stat` would count in hundredths of a second.)
fn cpu_ns(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap_or_else(|error| panic!("process {pid} can't be watched: {error}"));
    let of_task = |task: fs::DirEntry| -> Option<u64> {
        // A thread that has just ended has no file any more.
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    tasks.filter_map(Result::ok).filter_map(of_task).sum()
}

/// Memory of a process that is in RAM, in KiB, without pages of files.
#[must_use]
pub fn resident_anonymous_kib(pid: u32) -> u64 {
    status_kib(pid, "RssAnon:")
}

/// Memory of a process that is in RAM, in KiB, its own code included.
#[must_use]
pub fn resident_kib(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:")
}

fn status_kib(pid: u32, field: &str) -> u64 {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_else(|error| panic!("process {pid} can't be watched: {error}"));
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_else(|| panic!("Linux says {field}"));
    line.trim().trim_end_matches("kB").trim().parse().expect("a number of kB")
}

fn evalsha(connection: &mut redis::Connection) -> Evalsha {
    let info: String = redis::cmd("INFO").arg("commandstats").query(connection).expect("Redis says its commandstats");
    parse_evalsha(&info)
}

fn parse_evalsha(info: &str) -> Evalsha {
    let figure = |command: &str, name: &str| -> u64 {
        let line =
            info.lines().find_map(|line| line.strip_prefix("cmdstat_")?.strip_prefix(command)?.strip_prefix(':')).unwrap_or_default();
        let of = |field: &str| field.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).and_then(|number| number.parse().ok());
        line.split(',').find_map(of).unwrap_or_default()
    };
    // Three scripts run beside the calls, and each has a command that is in no other, once a run: the store's probe, every two seconds
    // (MSET); the question what was revoked, twice a second (XREVRANGE); and the note that a key was used, once an hour (HEXISTS, for
    // each key, of which every account here has one).
    let beside = figure("mset", "calls") + figure("xrevrange", "calls") + figure("hexists", "calls");
    Evalsha { calls: figure("evalsha", "calls").saturating_sub(beside), usec: figure("evalsha", "usec") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commandstats_are_read_as_redis_writes_them() {
        let info =
            "# Commandstats\r\ncmdstat_ping:calls=1,usec=2\r\ncmdstat_evalsha:calls=12,usec=345,usec_per_call=28.75,rejected_calls=0\r\n";
        let read = parse_evalsha(info);
        assert_eq!((read.calls, read.usec), (12, 345));
        let others = "cmdstat_mset:calls=2,usec=3\r\ncmdstat_xrevrange:calls=3,usec=4\r\ncmdstat_hexists:calls=1,usec=2\r\n";
        assert_eq!(parse_evalsha(&format!("{others}{info}")).calls, 6);
        assert_eq!(parse_evalsha("").calls, 0);
    }

    #[test]
    fn work_of_this_process_is_counted() {
        let mut gauge = Gauge::of(&Watch::default());
        let before = gauge.read();
        let (mut sum, mut spent) = (0_u64, Spent::default());
        while spent.cpu_us_of("load") < 1000.0 {
            sum = std::hint::black_box(sum + 1);
            spent = gauge.read().since(&before);
        }
        let once = spent.cpu_us_of("load");
        spent.add(&spent.clone());
        assert_eq!(spent.cpu_us_of("load"), 2.0 * once);
        let this = std::process::id();
        assert!(0 < resident_anonymous_kib(this) && resident_anonymous_kib(this) < resident_kib(this));
    }
}
