//! Lists of audit events: three logs, of users' changes, of operators' actions and of what failed, read as one.

use std::collections::{BTreeSet, HashMap};

use super::StoreLimits;
use super::audit::{AuditAction, AuditEvent};
use crate::ids::UserId;

/// Events that one page looks at, at most: of what happens seldom, a page has fewer than were asked for.
pub const MAX_EVENTS_LOOKED_AT: usize = 1000;
/// Events that are read at a time where only some are asked for.
const CHUNK: usize = 200;

/// A place in one of the logs: that of an event, or the one before the first. Later events have greater ones, and none comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct AuditPlace(pub u64, pub u64);

impl AuditPlace {
    /// The one right behind it.
    fn next(self) -> Self {
        Self(self.0, self.1.saturating_add(1))
    }
}

/// A place in each log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditPosition {
    /// In that of what users changed.
    pub changes: AuditPlace,
    /// In that of what operators did.
    pub operators: AuditPlace,
    /// In that of what failed.
    pub attempts: AuditPlace,
}

impl AuditPosition {
    /// One that is made log by log, in the order of [`AuditLog::ALL`].
    pub(super) fn of_each([changes, operators, attempts]: [AuditPlace; 3]) -> Self {
        Self { changes, operators, attempts }
    }

    /// In this log.
    fn of(&mut self, log: AuditLog) -> &mut AuditPlace {
        match log {
            AuditLog::Changes => &mut self.changes,
            AuditLog::Operators => &mut self.operators,
            AuditLog::Attempts => &mut self.attempts,
        }
    }

    /// Each of its places, changed alike.
    fn map(self, change: impl Fn(AuditPlace) -> AuditPlace) -> Self {
        Self { changes: change(self.changes), operators: change(self.operators), attempts: change(self.attempts) }
    }
}

/// Where a page is, and in which direction the next one lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditRange {
    /// Newest first, from the newest.
    Newest,
    /// Newest first, from before a position.
    Before {
        /// Which.
        position: AuditPosition,
        /// Where the newest ones were when the list began.
        newest: AuditPosition,
    },
    /// Oldest first, from behind a position. It may be one whose events are no longer kept.
    After(AuditPosition),
}

/// Which events are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditQuery {
    /// By this user, or done to them; `None`: all.
    pub user: Option<UserId>,
    /// Of this action; `None`: all.
    pub action: Option<AuditAction>,
    /// From where.
    pub range: AuditRange,
    /// So many at most.
    pub limit: u32,
}

impl AuditQuery {
    fn asks_for(&self, event: &AuditEvent) -> bool {
        let is_by_or_to = |user| event.actor.as_ref() == Some(user) || event.subject.as_ref() == Some(user);
        self.user.as_ref().is_none_or(is_by_or_to) && self.action.is_none_or(|action| event.action == action)
    }
}

/// An event that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Tells it from all others.
    pub id: String,
    /// By the store's clock.
    pub at_ms: i64,
    /// What.
    pub event: AuditEvent,
}

/// Events, as they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// May be fewer than were asked for, and none, though more follow.
    pub events: Vec<RecordedEvent>,
    /// The next page; `None`: this is the last one.
    pub next: Option<AuditRange>,
    /// For [`AuditRange::After`]: newest first, where the newest event was when the list began; oldest first, what this page came to.
    pub newest: AuditPosition,
}

impl AuditPage {
    /// Users whose ids are in events without their names.
    pub(super) fn unnamed(&self) -> BTreeSet<UserId> {
        let named = |user: &Option<UserId>, name: &str| user.clone().filter(|_| name.is_empty());
        let of_event = |RecordedEvent { event, .. }: &RecordedEvent| {
            [named(&event.actor, &event.actor_name), named(&event.subject, &event.subject_name)]
        };
        self.events.iter().flat_map(of_event).flatten().collect()
    }

    /// Adds these names where they are missing. Names never change.
    pub(super) fn name(&mut self, names: &HashMap<UserId, String>) {
        let name = |user: &Option<UserId>, shown: &mut String| {
            if let Some(name) = user.as_ref().and_then(|user| names.get(user)).filter(|_| shown.is_empty()) {
                shown.clone_from(name);
            }
        };
        for RecordedEvent { event, .. } in &mut self.events {
            name(&event.actor, &mut event.actor_name);
            name(&event.subject, &mut event.subject_name);
        }
    }
}

/// One of the logs. Each has a bound of its own, so that what one kind of caller does displaces nothing of another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuditLog {
    /// What users changed.
    Changes,
    /// What operators did.
    Operators,
    /// What failed.
    Attempts,
}

impl AuditLog {
    /// All of them. Of events of one time, those of the first log count as the earliest.
    pub(super) const ALL: [Self; 3] = [Self::Changes, Self::Operators, Self::Attempts];

    /// What it is named after where it is stored.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Operators => "operators",
            Self::Attempts => "attempts",
        }
    }

    /// How many events it keeps.
    pub(super) fn most(self, limits: &StoreLimits) -> u32 {
        match self {
            Self::Changes => limits.max_audit_changes,
            Self::Operators => limits.max_audit_operators,
            Self::Attempts => limits.max_audit_attempts,
        }
    }

    /// What the ids of its events begin with.
    fn letter(self) -> char {
        match self {
            Self::Changes => 'c',
            Self::Operators => 'o',
            Self::Attempts => 'a',
        }
    }
}

/// What a store has read.
#[derive(Debug)]
pub(super) struct ReadEvent {
    pub(super) place: AuditPlace,
    /// When, by a clock that all logs share: it decides which of two comes first.
    pub(super) order_ms: i64,
    pub(super) at_ms: i64,
    /// `None`: it can't be read.
    pub(super) event: Option<AuditEvent>,
}

/// Fills a page from what a store reads.
#[derive(Debug)]
pub(super) struct AuditPageInProgress<'q> {
    query: &'q AuditQuery,
    newest_first: bool,
    position: AuditPosition,
    newest: AuditPosition,
    events: Vec<RecordedEvent>,
    looked_at: usize,
}

impl<'q> AuditPageInProgress<'q> {
    /// `newest`: where the newest events are now.
    pub(super) fn new(query: &'q AuditQuery, newest: AuditPosition) -> Self {
        let (newest_first, position, newest) = match query.range {
            AuditRange::Newest => (true, newest.map(AuditPlace::next), newest),
            // Behind the place before the first, of which there is none before.
            AuditRange::Before { position, newest } => (true, position.map(|place| place.max(AuditPlace::default().next())), newest),
            AuditRange::After(mut position) => {
                // A store that lost its last writes goes on from what it has.
                let mut kept = newest;
                for log in AuditLog::ALL {
                    *position.of(log) = (*position.of(log)).min(*kept.of(log));
                }
                (false, position, position)
            }
        };
        Self { query, newest_first, position, newest, events: Vec::new(), looked_at: 0 }
    }

    /// Whether each log is to be read from its end.
    pub(super) fn newest_first(&self) -> bool {
        self.newest_first
    }

    /// What a log is to be read before, or behind when it is read from its beginning.
    pub(super) fn bound(&self, log: AuditLog) -> AuditPlace {
        *{ self.position }.of(log)
    }

    /// How many are to be looked at next; 0: the page is full, or has looked at as many as it may.
    pub(super) fn room(&self) -> usize {
        let missing = (self.query.limit as usize).saturating_sub(self.events.len());
        let is_filtered = self.query.user.is_some() || self.query.action.is_some();
        let wanted = if is_filtered && missing > 0 { missing.max(CHUNK) } else { missing };
        wanted.min(MAX_EVENTS_LOOKED_AT.saturating_sub(self.looked_at))
    }

    /// Takes the next ones, as many as there is room for, from what was read of each log, in the order of [`AuditLog::ALL`]: one more than
    /// there is room for, or all that there is. Answers whether something is left.
    pub(super) fn take(&mut self, logs: [Vec<ReadEvent>; 3]) -> bool {
        let mut room = self.room();
        let mut logs = logs.map(|events| events.into_iter().peekable());
        loop {
            let heads = logs.iter_mut().enumerate().filter_map(|(log, events)| Some((events.peek()?.order_ms, log)));
            let next = if self.newest_first { heads.max() } else { heads.min() };
            let Some((_, log)) = next else { return false };
            if room == 0 || self.events.len() == self.query.limit as usize {
                return true;
            }
            room -= 1;
            if let Some(read) = logs[log].next() {
                self.take_one(AuditLog::ALL[log], read);
            }
        }
    }

    fn take_one(&mut self, log: AuditLog, ReadEvent { place, at_ms, event, .. }: ReadEvent) {
        self.looked_at += 1;
        *self.position.of(log) = place;
        if !self.newest_first {
            *self.newest.of(log) = place;
        }
        match event {
            Some(event) if self.query.asks_for(&event) => {
                self.events.push(RecordedEvent { id: format!("{}{:x}-{:x}", log.letter(), place.0, place.1), at_ms, event });
            }
            Some(_) => {}
            // It must not keep the list from all others.
            None => tracing::error!(log = ?log, place = ?place, "an audit event can't be read"),
        }
    }

    /// The page. `more`: whether something is left.
    pub(super) fn finish(self, more: bool) -> AuditPage {
        let next = if self.newest_first {
            AuditRange::Before { position: self.position, newest: self.newest }
        } else {
            AuditRange::After(self.position)
        };
        AuditPage { events: self.events, next: more.then_some(next), newest: self.newest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(place: u64, order_ms: i64, action: AuditAction) -> ReadEvent {
        ReadEvent { place: AuditPlace(place, 0), order_ms, at_ms: order_ms, event: Some(AuditEvent::new(action)) }
    }

    fn query(range: AuditRange, limit: u32) -> AuditQuery {
        AuditQuery { user: None, action: None, range, limit }
    }

    fn ids(page: &AuditPage) -> Vec<&str> {
        page.events.iter().map(|event| event.id.as_str()).collect()
    }

    const NEWEST: AuditPosition = AuditPosition { changes: AuditPlace(3, 0), operators: AuditPlace(1, 0), attempts: AuditPlace(2, 0) };

    #[test]
    fn three_logs_are_one_list_by_time_in_both_directions() {
        let changes = || vec![read(1, 10, AuditAction::SignIn), read(2, 20, AuditAction::SignIn), read(3, 40, AuditAction::SignIn)];
        let operators = || vec![read(1, 20, AuditAction::LockUser)];
        let attempts = || vec![read(1, 20, AuditAction::SignIn), read(2, 30, AuditAction::SignIn)];
        let forward = query(AuditRange::After(AuditPosition::default()), 9);
        let mut page = AuditPageInProgress::new(&forward, NEWEST);
        assert!(!page.take([changes(), operators(), attempts()]));
        let oldest_first = page.finish(false);
        assert_eq!((ids(&oldest_first).join(" "), oldest_first.newest), ("c1-0 c2-0 o1-0 a1-0 a2-0 c3-0".to_owned(), NEWEST));
        let back = query(AuditRange::Newest, 9);
        let mut page = AuditPageInProgress::new(&back, NEWEST);
        assert_eq!(AuditLog::ALL.map(|log| page.bound(log)), [AuditPlace(3, 1), AuditPlace(1, 1), AuditPlace(2, 1)]);
        let reversed = |mut events: Vec<ReadEvent>| {
            events.reverse();
            events
        };
        assert!(!page.take([changes(), operators(), attempts()].map(reversed)));
        let newest_first = page.finish(false);
        let mut back = ids(&newest_first);
        back.reverse();
        assert_eq!(back, ids(&oldest_first));
    }

    #[test]
    fn a_page_that_is_full_leaves_the_rest_to_the_next_and_a_token_knows_what_it_has_come_to() {
        let forward = query(AuditRange::After(AuditPosition { changes: AuditPlace(9, 9), ..AuditPosition::default() }), 1);
        let mut page = AuditPageInProgress::new(&forward, NEWEST);
        assert_eq!(page.bound(AuditLog::Changes), NEWEST.changes, "what was lost is not waited for");
        assert!(page.take([vec![read(4, 50, AuditAction::SignIn)], Vec::new(), vec![read(1, 45, AuditAction::SignIn)]]));
        let page = page.finish(true);
        let reached = AuditPosition { operators: AuditPlace::default(), attempts: AuditPlace(1, 0), ..NEWEST };
        assert_eq!((ids(&page), page.newest, page.next), (vec!["a1-0"], reached, Some(AuditRange::After(reached))));
        let back = query(AuditRange::Newest, 1);
        let mut page = AuditPageInProgress::new(&back, NEWEST);
        assert!(page.take([vec![read(3, 50, AuditAction::SignIn)], Vec::new(), vec![read(2, 45, AuditAction::SignIn)]]));
        let position = AuditPosition { operators: AuditPlace(1, 1), attempts: AuditPlace(2, 1), ..NEWEST };
        assert_eq!(page.finish(true).next, Some(AuditRange::Before { position, newest: NEWEST }));
    }

    #[test]
    fn what_was_not_asked_for_is_looked_at_and_passed_over_and_never_more_than_so_many() {
        let all = query(AuditRange::Newest, 50);
        assert_eq!(AuditPageInProgress::new(&all, NEWEST).room(), 50);
        let some = AuditQuery { action: Some(AuditAction::SignUp), ..all };
        let mut page = AuditPageInProgress::new(&some, NEWEST);
        let (mut rounds, mut place) = (0, u64::MAX);
        while page.room() > 0 {
            let mut next = || {
                place -= 1;
                read(place, 0, AuditAction::SignIn)
            };
            let chunk = (0..=page.room()).map(|_| next()).collect();
            assert!(page.take([chunk, Vec::new(), Vec::new()]));
            rounds += 1;
        }
        assert_eq!((rounds, page.looked_at), (MAX_EVENTS_LOOKED_AT / CHUNK, MAX_EVENTS_LOOKED_AT));
        let page = page.finish(true);
        assert!(page.events.is_empty() && page.next.is_some());
    }
}
