//! The parts of a round on one Redis: what is measured in each.

use integration::processes::ServiceProcess;
use shared::proto::inference::inference_client::InferenceClient;

use super::outcomes::{Group, NamedWorkload};
use super::{ACCOUNTS, CHECK_CONNECTIONS, LOGIN_TURNS, MessageSizes, OPEN_TURNS, PLENTY, Part, Plan, TURNS};
use crate::gauge::resident_kib;
use crate::ledger::{Accounts, Ledgers, PASSWORD};
use crate::load::{
    IdleJob, IdleOutcome, Job, LoginFlood, Outcome, Pace, Phase, Span, StreamJob, StreamTarget, Turns, UnaryJob, UnaryOutcome, UnaryTarget,
    Workload, chat,
};
use crate::report::Measured;
use crate::testbed::{Testbed, load};
use crate::upstream::{PACED, SATURATED, SINGLY};

/// Credits of the account that is exhausted, and calls on it.
const SCARCE: (i64, u64) = (500, 1500);
/// Calls of the caller that is alone.
const ALONE: u64 = 500;
/// Log-ins at a time.
const LOGINS: u32 = 500;
/// Calls and streams a second in open loops: far from what the services can take.
const OPEN_RATE: f64 = 200.0;
/// Of callers to inference-service.
const STREAM_CONNECTIONS: usize = 2;
/// Connections that idle streams are on.
const IDLE_CONNECTIONS: usize = 16;
/// Tokens of a saturated answer.
const SATURATED_TOKENS: u32 = 50_000;
/// Saturated streams at a time.
const SATURATED_STREAMS: usize = 4;
/// Paced streams at a time.
const PACED_STREAMS: usize = 50;
/// Tokens of an answer whose first token is timed.
const SHORT_TOKENS: u32 = 8;
/// Callers of whole chats.
const CHAT_CALLERS: usize = 16;
/// Tokens of a chat over HTTP that has many.
const MANY_TOKENS: u32 = 128;

/// What rounds on one Redis are made of.
pub(super) struct Parts<'a> {
    pub(super) plan: &'a Plan,
    pub(super) testbed: &'a Testbed,
    pub(super) baselines: &'a ServiceProcess,
    pub(super) chain: &'a ServiceProcess,
    pub(super) upstream: &'a ServiceProcess,
    pub(super) inference: &'a ServiceProcess,
    pub(super) sizes: MessageSizes,
}

impl Parts<'_> {
    /// What is measured in one round.
    pub(super) fn groups(&self, accounts: &Accounts) -> Vec<Group> {
        let mut groups = Vec::new();
        let unary = |name, target, phase| NamedWorkload { name, workload: Workload::Unary(self.unary(target, phase, &accounts.api_keys)) };
        let stream = |name, target, model, tokens, pace| NamedWorkload {
            name,
            workload: Workload::Stream(self.stream(target, model, tokens, pace, &accounts.api_keys)),
        };
        let mut group = |turns, workloads| groups.push(Group { turns, span: self.plan.turn(), workloads, threads: None });
        if self.plan.parts.contains(&Part::Check) {
            let beside = |[echo, script, check]: [&'static str; 3], callers| {
                let phase = Phase::Closed { callers };
                vec![
                    unary(echo, UnaryTarget::Echo, phase),
                    unary(script, UnaryTarget::Script, phase),
                    unary(check, UnaryTarget::Check, phase),
                ]
            };
            let with_token = self.unary(UnaryTarget::Check, Phase::Closed { callers: 32 }, &accounts.access_tokens);
            let mut of_32 = beside(["echo 32", "script 32", "check 32"], 32);
            of_32.push(NamedWorkload { name: "check with a token 32", workload: Workload::Unary(with_token) });
            group(TURNS, of_32);
            group(TURNS, beside(["echo 128", "script 128", "check 128"], 128));
            group(TURNS, beside(["echo 1", "script 1", "check 1"], 1));
        }
        if self.plan.parts.contains(&Part::Chat) {
            let (callers, phase) = (Pace::Closed { streams: CHAT_CALLERS }, Phase::Closed { callers: CHAT_CALLERS });
            group(
                TURNS,
                vec![
                    stream("chat 16", StreamTarget::Gateway, SATURATED, 1, callers),
                    stream("chain 16", StreamTarget::Chain, SATURATED, 1, callers),
                    unary("check 16", UnaryTarget::Check, phase),
                    unary("script 16", UnaryTarget::Script, phase),
                ],
            );
        }
        if self.plan.parts.contains(&Part::Logins) {
            groups.push(self.logins(accounts));
        }
        if self.plan.parts.contains(&Part::Http) {
            groups.extend(self.http(&accounts.api_keys));
        }
        let mut group = |turns, workloads| groups.push(Group { turns, span: self.plan.turn(), workloads, threads: None });
        let both = |[gateway, reader]: [&'static str; 2], model, tokens, pace| {
            vec![stream(gateway, StreamTarget::Gateway, model, tokens, pace), stream(reader, StreamTarget::Reader, model, tokens, pace)]
        };
        if self.plan.parts.contains(&Part::Stream) {
            let (saturated, paced) = (Pace::Closed { streams: SATURATED_STREAMS }, Pace::Closed { streams: PACED_STREAMS });
            let paced_tokens = self.paced_tokens();
            group(TURNS, both(["gateway saturated", "reader saturated"], SATURATED, SATURATED_TOKENS, saturated));
            group(TURNS, both(["gateway singly", "reader singly"], SINGLY, SATURATED_TOKENS, saturated));
            group(TURNS, both(["gateway paced", "reader paced"], PACED, paced_tokens, paced));
        }
        if self.plan.parts.contains(&Part::FirstToken) {
            let open = Phase::Open { rate: OPEN_RATE };
            let mut workloads = both(["gateway first", "reader first"], SATURATED, SHORT_TOKENS, Pace::Open { rate: OPEN_RATE });
            workloads.extend([unary("check open", UnaryTarget::Check, open), unary("echo open", UnaryTarget::Echo, open)]);
            group(OPEN_TURNS, workloads);
        }
        groups
    }

    /// Check at a rate, beside log-ins and without them.
    fn logins(&self, accounts: &Accounts) -> Group {
        let idle = self.unary(UnaryTarget::Check, Phase::Open { rate: OPEN_RATE }, &accounts.api_keys);
        let beside = LoginFlood {
            url: self.testbed.auth.url(),
            callers: LOGINS,
            user_names: accounts.user_names.clone(),
            password: PASSWORD.to_owned(),
        };
        let flooded = UnaryJob { beside: Some(beside), ..idle.clone() };
        let named = [("check without log-ins", idle), ("check beside log-ins", flooded)];
        let workloads = named.map(|(name, job)| NamedWorkload { name, workload: Workload::Unary(job) }).into();
        Group { turns: LOGIN_TURNS, span: self.plan.login_turn(), workloads, threads: None }
    }

    /// Chats by gRPC and over HTTP, streamed and whole: each beside its like.
    fn http(&self, credentials: &[String]) -> Vec<Group> {
        // A connection for each stream, as HTTP/1.1 has it: on one that many share, their tokens share writes.
        let chat = |name, target, whole, (model, tokens, streams)| {
            let job = self.stream(target, model, tokens, Pace::Closed { streams }, credentials);
            NamedWorkload { name, workload: Workload::Stream(StreamJob { whole, connections: streams, ..job }) }
        };
        let both = |[grpc, http]: [&'static str; 2], whole, asked| {
            vec![chat(grpc, StreamTarget::Gateway, whole, asked), chat(http, StreamTarget::Http, whole, asked)]
        };
        let one = (SATURATED, 1, CHAT_CALLERS);
        let many = (SINGLY, MANY_TOKENS, CHAT_CALLERS);
        let paced = (PACED, self.paced_tokens(), PACED_STREAMS);
        let groups = [
            both(["grpc one", "http one"], false, one),
            both(["grpc one whole", "http one whole"], true, one),
            both(["grpc many", "http many"], false, many),
            both(["grpc many whole", "http many whole"], true, many),
            both(["grpc paced", "http paced"], false, paced),
        ];
        groups.into_iter().map(|workloads| Group { turns: TURNS, span: self.plan.turn(), workloads, threads: None }).collect()
    }

    /// Paced answers are longer than a turn: what is measured are streams that go on, not the moment at which all of them begin.
    fn paced_tokens(&self) -> u32 {
        let Span { warm_up, measured } = self.plan.turn();
        let steps = (warm_up + measured).as_millis() / crate::upstream::PACE.as_millis() + 2;
        u32::try_from(steps).unwrap_or(u32::MAX)
    }

    fn unary(&self, target: UnaryTarget, phase: Phase, credentials: &[String]) -> UnaryJob {
        let url = if target == UnaryTarget::Check { self.testbed.auth.url() } else { self.baselines.url() };
        UnaryJob {
            target,
            url,
            phase,
            connections: CHECK_CONNECTIONS,
            request_bytes: self.sizes.request,
            credentials: credentials.to_vec(),
            service_credential: self.testbed.service_credential.clone(),
            beside: None,
            watch: self.testbed.watch(&[("baselines", self.baselines)]),
        }
    }

    fn stream(&self, target: StreamTarget, model: &str, tokens: u32, pace: Pace, credentials: &[String]) -> StreamJob {
        StreamJob {
            target,
            url: match target {
                StreamTarget::Gateway | StreamTarget::Http => self.inference.url(),
                StreamTarget::Chain => self.chain.url(),
                StreamTarget::Reader => self.upstream.url(),
            },
            model: model.to_owned(),
            tokens,
            whole: false,
            pace,
            connections: STREAM_CONNECTIONS,
            credentials: credentials.to_vec(),
            gaps: model == PACED,
            watch: self.testbed.watch(&[
                ("inference-service", self.inference),
                ("baselines", self.baselines),
                ("chain", self.chain),
                ("upstream", self.upstream),
            ]),
        }
    }

    /// Makes more calls on an account than it has credits: exactly as many are admitted as there are.
    pub(super) async fn exhaust(&self, mode: &str, ledgers: &Ledgers, measured: &mut Measured) {
        let (credits, calls) = SCARCE;
        let accounts = ledgers.accounts(1, credits).await;
        let outcome = self.counted(128, calls, &accounts);
        let mut mistakes = ledgers.mistakes(&accounts, outcome.admitted).await;
        if i64::try_from(outcome.admitted) != Ok(credits) || outcome.admitted + outcome.refused != calls {
            mistakes
                .push(format!("of {calls} calls on {credits} credits, {} were admitted and {} refused", outcome.admitted, outcome.refused));
        }
        measured.ledger(mistakes);
        measured.add("evalsha_per_check_128", mode, outcome.spent.evalsha.calls as f64 / outcome.calls as f64);
        measured.add("evalsha_per_extend", mode, outcome.extended.1.evalsha.calls as f64 / outcome.extended.0 as f64);
        measured.add("evalsha_per_settle", mode, outcome.settled.1.evalsha.calls as f64 / outcome.settled.0 as f64);
    }

    /// One caller, whose calls have no others to share a script with.
    pub(super) async fn alone(&self, mode: &str, ledgers: &Ledgers, measured: &mut Measured) {
        let accounts = ledgers.accounts(1, PLENTY).await;
        // A caller that is new to auth-service takes a script more, once.
        let first = self.counted(1, 1, &accounts);
        let outcome = self.counted(1, ALONE, &accounts);
        measured.ledger(ledgers.mistakes(&accounts, first.admitted + outcome.admitted).await);
        measured.add("evalsha_per_check", mode, outcome.spent.evalsha.calls as f64 / outcome.calls as f64);
    }

    /// Makes so many Checks, all of which are counted, from the first to the last.
    fn counted(&self, callers: usize, calls: u64, accounts: &Accounts) -> UnaryOutcome {
        let job = self.unary(UnaryTarget::Check, Phase::Counted { callers, calls }, &accounts.api_keys);
        let turns = Turns { workloads: vec![Workload::Unary(job)], turns: 1, span: self.plan.turn() };
        let outcomes: Vec<Outcome> = load(&Job::Turns(turns), None, &self.plan.pinning);
        match <[Outcome; 1]>::try_from(outcomes) {
            Ok([Outcome::Unary(outcome)]) => outcome,
            other => panic!("calls came to {other:?}"),
        }
    }

    /// Opens silent streams on an inference-service of their own.
    pub(super) async fn memory(&self, mode: &str, ledgers: &Ledgers, measured: &mut Measured) {
        let accounts = ledgers.accounts(ACCOUNTS, PLENTY).await;
        let inference = self.testbed.inference(&self.testbed.auth, self.upstream);
        let counts = self.plan.idle_streams.clone();
        let job = Job::Idle(IdleJob {
            url: inference.url(),
            pid: inference.pid(),
            connections: IDLE_CONNECTIONS,
            credentials: accounts.api_keys.clone(),
            counts: counts.clone(),
        });
        let outcome: IdleOutcome = load(&job, None, &self.plan.pinning);
        measured.ledger(ledgers.mistakes(&accounts, outcome.admitted).await);
        let ends = (counts.first().zip(outcome.resident_kib.first()), counts.last().zip(outcome.resident_kib.last()));
        let (Some((few, before)), Some((many, after))) = ends else { panic!("memory is read at two counts at least") };
        measured.add("kib_per_idle_stream", mode, (*after as f64 - *before as f64) / (*many as f64 - *few as f64));
        for (count, kib) in counts.iter().zip(&outcome.resident_kib) {
            measured.see(mode, format!("inference-service, {count} idle streams, KiB"), *kib as f64);
        }
    }

    /// Starts both services anew, makes their first call, and reads what they keep in memory.
    pub(super) async fn first_calls(&self, mode: &str, ledgers: &Ledgers, measured: &mut Measured) {
        let accounts = ledgers.accounts(1, PLENTY).await;
        let auth = self.testbed.another_auth();
        let inference = self.testbed.inference(&auth, self.upstream);
        let mut client = InferenceClient::connect(inference.url()).await.expect("inference-service answers");
        let mut answer = client.chat(chat(&accounts.api_keys[0], SATURATED, 1)).await.expect("a chat").into_inner();
        while answer.message().await.expect("an answer").is_some() {}
        measured.ledger(ledgers.mistakes(&accounts, 1).await);
        for (row, process) in [("auth_mib", &auth), ("inference_mib", &inference)] {
            measured.add(row, mode, resident_kib(process.pid()) as f64 / 1024.0);
        }
    }
}
