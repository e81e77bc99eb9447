//! What the rows are made of: the outcomes of a round, as figures.

use std::time::Duration;

use super::TURNS;
use super::outcomes::Outcomes;
use crate::load::{StreamOutcome, UnaryOutcome};
use crate::percentiles::{Percentiles, median};
use crate::report::Measured;

fn per_second(outcome: &UnaryOutcome) -> f64 {
    outcome.calls as f64 / outcome.seconds
}

fn cpu_per_call(outcome: &UnaryOutcome, process: &str) -> f64 {
    outcome.spent.cpu_us_of(process) / outcome.calls as f64
}

/// Redis's time in scripts, for each call.
fn script_us(outcome: &UnaryOutcome) -> f64 {
    outcome.spent.evalsha.usec as f64 / outcome.calls as f64
}

pub(super) fn of_checks(mode: &str, outcomes: &Outcomes, measured: &mut Measured) {
    let of = |name: &str| outcomes.unary(name);
    let mut add = |row, figure| measured.add(row, mode, figure);
    add("check_vs_script_32", per_second(of("check 32")) / per_second(of("script 32")));
    add("check_vs_script_128", per_second(of("check 128")) / per_second(of("script 128")));
    add("check_vs_echo_32", per_second(of("check 32")) / per_second(of("echo 32")));
    add("check_vs_echo_128", per_second(of("check 128")) / per_second(of("echo 128")));
    add("check_cpu_vs_script", cpu_per_call(of("check 32"), "auth-service") / cpu_per_call(of("script 32"), "baselines"));
    add("check_p50_vs_script", of("check 1").latency.p50_us / of("script 1").latency.p50_us);
    add("script_us_vs_script", script_us(of("check 32")) / script_us(of("script 32")));
    let token = of("check with a token 32");
    add("token_cpu_vs_key", cpu_per_call(token, "auth-service") / cpu_per_call(of("check 32"), "auth-service"));

    for name in [
        "echo 1",
        "script 1",
        "check 1",
        "echo 32",
        "script 32",
        "check 32",
        "check with a token 32",
        "echo 128",
        "script 128",
        "check 128",
    ] {
        let outcome = of(name);
        let service = if name.starts_with("check") { "auth-service" } else { "baselines" };
        let mut see = |what: &str, figure| measured.see(mode, format!("{name}: {what}"), figure);
        see("calls per second", per_second(outcome));
        see("p50, µs", outcome.latency.p50_us);
        see("p99, µs", outcome.latency.p99_us);
        see("service's CPU per call, µs", cpu_per_call(outcome, service));
        see("load's CPU per call, µs", cpu_per_call(outcome, "load"));
        if !name.starts_with("echo") {
            see("Redis's CPU per call, µs", cpu_per_call(outcome, "redis"));
            see("Redis's time in scripts per call, µs", script_us(outcome));
            see("scripts per call", outcome.spent.evalsha.calls as f64 / outcome.calls as f64);
        }
    }
    let settled = &of("check 32").settled;
    measured.see(mode, "settle: service's CPU per call, µs".to_owned(), settled.1.cpu_us_of("auth-service") / settled.0 as f64);
    measured.see(mode, "settle: Redis's time per script, µs".to_owned(), settled.1.evalsha.usec as f64 / settled.1.evalsha.calls as f64);
}

pub(super) fn of_logins(mode: &str, outcomes: &Outcomes, measured: &mut Measured) {
    let (idle, flooded) = (outcomes.unary("check without log-ins"), outcomes.unary("check beside log-ins"));
    assert!(flooded.logins.succeeded > 0 && flooded.logins.put_off > 0, "not all of 500 log-ins are hashed: {:?}", flooded.logins);
    measured.add("check_p99_beside_logins", mode, flooded.latency.p99_us / idle.latency.p99_us);
    for (name, outcome) in [("check, open loop", idle), ("check beside 500 log-ins", flooded)] {
        measured.see(mode, format!("{name}: p50, µs"), outcome.latency.p50_us);
        measured.see(mode, format!("{name}: p99, µs"), outcome.latency.p99_us);
    }
    let per_second = |logins: u64| logins as f64 / flooded.seconds;
    measured.see(mode, "log-ins beside check that succeeded, a second".to_owned(), per_second(flooded.logins.succeeded));
    measured.see(mode, "log-ins beside check that were put off, a second".to_owned(), per_second(flooded.logins.put_off));
}

/// Processor time of some processes for each answer.
fn cpu_per_answer(outcome: &StreamOutcome, processes: &[&str]) -> f64 {
    processes.iter().map(|process| outcome.spent.cpu_us_of(process)).sum::<f64>() / outcome.answers as f64
}

pub(super) fn of_chats(mode: &str, outcomes: &Outcomes, measured: &mut Measured) {
    let (chat, chain) = (outcomes.stream("chat 16"), outcomes.stream("chain 16"));
    let (check, script) = (outcomes.unary("check 16"), outcomes.unary("script 16"));
    let answers_per_second = |outcome: &StreamOutcome| outcome.answers as f64 / outcome.seconds;
    let script_us_per_answer = |outcome: &StreamOutcome| outcome.spent.evalsha.usec as f64 / outcome.answers as f64;
    let ours = ["auth-service", "inference-service", "redis"];
    let theirs = ["baselines", "chain", "redis"];
    let settle_us = check.settled.1.evalsha.usec as f64 / check.settled.0 as f64;
    let mut add = |row, figure| measured.add(row, mode, figure);
    add("chat_vs_chain", answers_per_second(chat) / answers_per_second(chain));
    add("chat_cpu_vs_chain", cpu_per_answer(chat, &ours) / cpu_per_answer(chain, &theirs));
    add("settle_us_vs_check", settle_us / script_us(check));
    // Not the time in scripts: that is by the clock, so it counts what Redis waits for a processor in the middle of one.
    add("chat_redis_vs_chain", cpu_per_answer(chat, &["redis"]) / cpu_per_answer(chain, &["redis"]));

    for (name, outcome, processes) in [("chat 16", chat, ours), ("chain 16", chain, theirs)] {
        let mut see = |what: &str, figure| measured.see(mode, format!("{name}: {what}"), figure);
        see("answers per second", answers_per_second(outcome));
        see("first token, p50, µs", outcome.first_token.p50_us);
        see("Redis's time in scripts per answer, µs", script_us_per_answer(outcome));
        see("scripts per answer", outcome.spent.evalsha.calls as f64 / outcome.answers as f64);
        for process in processes.into_iter().chain(["upstream", "load"]) {
            see(&format!("{process}'s CPU per answer, µs"), cpu_per_answer(outcome, &[process]));
        }
    }
    let mut see = |what: &str, figure| measured.see(mode, what.to_owned(), figure);
    see("check 16: Redis's time in scripts per call, µs", script_us(check));
    see("script 16: Redis's time in scripts per call, µs", script_us(script));
    see("settle 16: Redis's time in scripts per call, µs", settle_us);
    see("settle 16: scripts per call", check.settled.1.evalsha.calls as f64 / check.settled.0 as f64);
}

pub(super) fn of_http(mode: &str, outcomes: &Outcomes, measured: &mut Measured) {
    let services = ["auth-service", "inference-service"];
    let spent = |outcome: &StreamOutcome| services.iter().map(|service| outcome.spent.cpu_us_of(service)).sum::<f64>();
    for (way, row, what) in [
        ("one", "http_cpu_one", "answer"),
        ("one whole", "http_cpu_one_whole", "answer"),
        // A turn ends in the middle of long answers.
        ("many", "http_cpu_many", "token"),
        ("many whole", "http_cpu_many_whole", "answer"),
        ("paced", "http_cpu_paced", "token"),
    ] {
        let per = |outcome: &StreamOutcome| spent(outcome) / if what == "token" { outcome.tokens } else { outcome.answers } as f64;
        let [grpc, http] = ["grpc", "http"].map(|protocol| per(outcomes.stream(&format!("{protocol} {way}"))));
        measured.add(row, mode, http / grpc);
        measured.see(mode, format!("grpc {way}: the services' CPU per {what}, µs"), grpc);
        measured.see(mode, format!("http {way}: the services' CPU per {what}, µs"), http);
    }
}

pub(super) fn of_streams(mode: &str, outcomes: &Outcomes, measured: &mut Measured) {
    let of = |name: &str| outcomes.stream(name);
    let cpu_per_token = |name: &str, process: &str| of(name).spent.cpu_us_of(process) / of(name).tokens as f64;
    for (way, ratio, cpu) in
        [("saturated", "tokens_per_cpu_vs_reader", "cpu_per_token"), ("singly", "tokens_per_cpu_vs_reader_singly", "cpu_per_token_singly")]
    {
        let (gateway, reader) = (format!("gateway {way}"), format!("reader {way}"));
        let gateway_cpu = cpu_per_token(&gateway, "inference-service");
        let reader_cpu = cpu_per_token(&reader, "load");
        measured.add(ratio, mode, reader_cpu / gateway_cpu);
        measured.add(cpu, mode, gateway_cpu);
        measured.see(mode, format!("{reader}: CPU per token, µs"), reader_cpu);
        for name in [&gateway, &reader] {
            measured.see(mode, format!("{name}: tokens per second"), of(name).tokens as f64 / of(name).seconds);
        }
    }
    // A turn has some 600 gaps.
    let (gateway, reader) = (of("gateway paced"), of("reader paced"));
    measured.add("gap_p99", mode, added(1, &gateway.turns, &[&reader.turns], |gap| gap.p99_us));
    let (gateway, reader) = (gateway.gap, reader.gap);
    measured.see(mode, "gateway, paced: p99 between tokens, µs".to_owned(), gateway.p99_us);
    measured.see(mode, "reader, paced: p99 between tokens, µs".to_owned(), reader.p99_us);
    measured.see(mode, "gateway, paced: CPU per token, µs".to_owned(), cpu_per_token("gateway paced", "inference-service"));
}

/// A figure of one thing less those of others, of turns that were taken one right after the other, so many together; the median of them. Of
/// all turns together, the figure of one thing may be from a moment at which the machine was fast, and that of another from one at which it
/// was slow.
fn added(together: usize, whole: &[Vec<Duration>], beside: &[&Vec<Vec<Duration>>], of: fn(Percentiles) -> f64) -> f64 {
    let figures = |turns: &[Vec<Duration>]| turns.chunks(together).map(|some| of(Percentiles::of(some.concat()))).collect::<Vec<_>>();
    let mut added = figures(whole);
    for turns in beside {
        added.iter_mut().zip(figures(turns)).for_each(|(added, figure)| *added -= figure);
    }
    median(&added)
}

pub(super) fn of_first_tokens(mode: &str, outcomes: &Outcomes, measured: &mut Measured) {
    let (gateway, reader) = (outcomes.stream("gateway first"), outcomes.stream("reader first"));
    let (check, echo) = (outcomes.unary("check open"), outcomes.unary("echo open"));
    let beside = [&reader.turns, &check.turns];
    // A chat is one hop longer than a reader's answer and a Check together, and echo is a hop: how long one takes drifts with the machine.
    let hop_us = echo.latency.p50_us;
    let added_us = [
        ("first_token_p50", added(1, &gateway.turns, &beside, |latency| latency.p50_us)),
        // A turn has 25 calls: eight of them make a p99.
        ("first_token_p99", added(TURNS as usize, &gateway.turns, &beside, |latency| latency.p99_us)),
    ];
    for (row, added_us) in added_us {
        measured.add(row, mode, added_us / hop_us);
        measured.see(mode, format!("{row}, added, µs"), added_us);
    }
    for (name, latency) in
        [("gateway", gateway.first_token), ("reader", reader.first_token), ("check", check.latency), ("echo", echo.latency)]
    {
        measured.see(mode, format!("{name}, open loop: p50, µs"), latency.p50_us);
        measured.see(mode, format!("{name}, open loop: p99, µs"), latency.p99_us);
    }
    let cpu_per_chat = gateway.spent.cpu_us_of("inference-service") / gateway.first_token.count as f64;
    measured.see(mode, "gateway, open loop: inference-service's CPU per chat, µs".to_owned(), cpu_per_chat);
}

pub(super) fn of_sqlite(mode: &str, check: &UnaryOutcome, syncs_per_second: f64, measured: &mut Measured) {
    measured.add("sqlite_vs_fsync", mode, per_second(check) / syncs_per_second);
    let mut see = |what: &str, figure| measured.see(mode, what.to_owned(), figure);
    see("check 64: calls per second", per_second(check));
    see("check 64: p50, µs", check.latency.p50_us);
    see("check 64: service's CPU per call, µs", cpu_per_call(check, "auth-service"));
    see("check 64: load's CPU per call, µs", cpu_per_call(check, "load"));
    see("fsyncs per second", syncs_per_second);
}
