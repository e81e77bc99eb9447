//! What a round measures at once, and what came of it.

use std::collections::BTreeMap;

use super::Plan;
use crate::load::{Job, Outcome, Span, StreamOutcome, Turns, UnaryOutcome, Workload};
use crate::testbed::load;

/// Load that is measured in each round.
pub(super) struct NamedWorkload {
    pub(super) name: &'static str,
    pub(super) workload: Workload,
}

/// Workloads that are compared with each other.
pub(super) struct Group {
    pub(super) turns: u32,
    pub(super) span: Span,
    pub(super) workloads: Vec<NamedWorkload>,
    /// Of the load; `None`: one for each processor.
    pub(super) threads: Option<usize>,
}

/// What came of a round's workloads, by name.
#[derive(Default)]
pub(super) struct Outcomes(BTreeMap<&'static str, Outcome>);

impl Outcomes {
    /// Measures workloads that are compared with each other.
    pub(super) fn measure(&mut self, group: Group, plan: &Plan) {
        let (names, workloads): (Vec<_>, Vec<_>) = group.workloads.into_iter().map(|one| (one.name, one.workload)).unzip();
        let turns = Turns { workloads, turns: group.turns, span: group.span };
        let outcomes: Vec<Outcome> = load(&Job::Turns(turns), group.threads, &plan.pinning);
        self.0.extend(names.into_iter().zip(outcomes));
    }

    pub(super) fn unary(&self, name: &str) -> &UnaryOutcome {
        match self.0.get(name) {
            Some(Outcome::Unary(outcome)) => outcome,
            _ => panic!("{name} was not measured"),
        }
    }

    pub(super) fn stream(&self, name: &str) -> &StreamOutcome {
        match self.0.get(name) {
            Some(Outcome::Stream(outcome)) => outcome,
            _ => panic!("{name} was not measured"),
        }
    }

    pub(super) fn syncs_per_second(&self, name: &str) -> f64 {
        match self.0.get(name) {
            Some(Outcome::Disk(outcome)) => outcome.syncs_per_second,
            _ => panic!("{name} was not measured"),
        }
    }

    /// Calls of one credit that were admitted.
    pub(super) fn admitted(&self) -> u64 {
        let of = |outcome: &Outcome| match outcome {
            Outcome::Unary(outcome) => outcome.admitted,
            Outcome::Stream(outcome) => outcome.admitted,
            Outcome::Disk(_) => 0,
        };
        self.0.values().map(of).sum()
    }
}
