//! Users, and the identities of issuers that sign them in: what should be so, in the plainest words.

use std::collections::BTreeSet;

use auth_service::ids::SessionId;
use auth_service::store::NewUser;

use crate::fixture::Person;

pub(crate) const MINUTE_MS: i64 = 60_000;
/// A session that is over.
pub(crate) const OVER: &str = "over";
/// Which one, counted from the newest one back.
pub(crate) type Back = usize;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Proof {
    Fresh,
    /// One that was shown before.
    Again(Back),
}

pub(crate) fn issuer(identity: usize) -> String {
    format!("https://issuer{}.example", identity % 2)
}

pub(crate) fn subject(identity: usize) -> String {
    format!("{}", identity / 2)
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) began_ms: i64,
    /// The identity that began it; `None`: the password.
    pub(crate) by: Option<usize>,
    pub(crate) live: bool,
}

#[derive(Debug)]
pub(crate) struct Linked {
    pub(crate) identity: usize,
    pub(crate) at_ms: i64,
    pub(crate) proof: [u8; 32],
}

pub(crate) struct User {
    pub(crate) person: Person,
    /// Empty: none.
    pub(crate) password: String,
    pub(crate) disabled: bool,
    pub(crate) locked: bool,
    pub(crate) is_reset: bool,
    pub(crate) linked: Vec<Linked>,
    pub(crate) sessions: Vec<Session>,
}

/// All of them.
pub(crate) struct Model {
    pub(crate) now_ms: i64,
    pub(crate) users: Vec<User>,
    /// All that were shown.
    pub(crate) proofs: Vec<[u8; 32]>,
    pub(crate) used: BTreeSet<[u8; 32]>,
}

impl User {
    pub(crate) fn new(new: &NewUser) -> Self {
        Self {
            person: Person { id: new.user_id.clone(), account: (&new.user_id).into() },
            password: new.password_hash.clone(),
            disabled: false,
            locked: false,
            is_reset: false,
            linked: Vec::new(),
            sessions: Vec::new(),
        }
    }

    pub(crate) fn has(&self, identity: usize) -> bool {
        self.linked.iter().any(|one| one.identity == identity)
    }

    /// What keeps them out.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        if self.disabled {
            Some("UserDisabled")
        } else if self.locked {
            Some("UserLocked")
        } else {
            None
        }
    }

    /// The session with this number, if the user may act in it.
    pub(crate) fn acting(&self, session: usize) -> Result<&Session, &'static str> {
        match self.refusal() {
            Some(refusal) => Err(refusal),
            None => Some(&self.sessions[session]).filter(|one| one.live).ok_or(OVER),
        }
    }

    pub(crate) fn begin(&mut self, id: SessionId, by: Option<usize>, now_ms: i64) {
        self.sessions.push(Session { id, began_ms: now_ms, by, live: true });
    }

    pub(crate) fn end(&mut self, ends: impl Fn(&Session) -> bool) -> usize {
        let mut ended = 0;
        for session in self.sessions.iter_mut().filter(|session| session.live && ends(session)) {
            session.live = false;
            ended += 1;
        }
        ended
    }
}

impl Model {
    pub(crate) fn holder(&self, identity: usize) -> Option<usize> {
        self.users.iter().position(|user| user.has(identity))
    }

    pub(crate) fn proof(&mut self, proof: Proof) -> [u8; 32] {
        let shown = match proof {
            Proof::Again(back) => self.proofs.iter().rev().nth(back).copied(),
            Proof::Fresh => None,
        };
        shown.unwrap_or_else(|| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&(self.proofs.len() as u64 + 1).to_be_bytes());
            // Users of an earlier case have used theirs.
            hash[8..24].copy_from_slice(&self.users[0].person.id.as_str().as_bytes()[..16]);
            self.proofs.push(hash);
            hash
        })
    }

    pub(crate) fn first_sign_in(&mut self, new: &NewUser, identity: usize, proof: [u8; 32], session: SessionId) -> &'static str {
        if self.holder(identity).is_some() {
            return "IdentityTaken";
        }
        if !self.used.insert(proof) {
            return "ProofUsed";
        }
        let mut user = User::new(new);
        user.linked.push(Linked { identity, at_ms: self.now_ms, proof });
        user.begin(session, Some(identity), self.now_ms);
        self.users.push(user);
        "Created"
    }

    pub(crate) fn sign_in(&mut self, user: usize, identity: usize, proof: [u8; 32], session: SessionId) -> &'static str {
        if self.used.contains(&proof) {
            return "ProofUsed";
        }
        let user = &mut self.users[user];
        if !user.has(identity) {
            return "NotLinked";
        }
        if let Some(refusal) = user.refusal() {
            return refusal;
        }
        if user.is_reset {
            return "PasswordChangeRequired";
        }
        self.used.insert(proof);
        user.begin(session, Some(identity), self.now_ms);
        "Begun"
    }

    pub(crate) fn link(&mut self, user: usize, session: usize, identity: usize, proof: [u8; 32]) -> &'static str {
        let began_ms = match self.users[user].acting(session) {
            Ok(session) => session.began_ms,
            Err(refusal) => return refusal,
        };
        let is_same = |one: &Linked| one.proof == proof && subject(one.identity) == subject(identity);
        if self.users[user].has(identity) && self.users[user].linked.iter().any(is_same) {
            return "Linked";
        }
        if self.used.contains(&proof) {
            return "ProofUsed";
        }
        if self.now_ms - began_ms >= 15 * MINUTE_MS {
            return "RecentSignInRequired";
        }
        if self.holder(identity).is_some() || self.users[user].linked.iter().any(|one| issuer(one.identity) == issuer(identity)) {
            return "Taken";
        }
        self.used.insert(proof);
        self.users[user].linked.push(Linked { identity, at_ms: self.now_ms, proof });
        "Linked"
    }

    pub(crate) fn unlink(&mut self, user: usize, session: usize, identity: usize) -> String {
        let user = &mut self.users[user];
        if let Err(refusal) = user.acting(session) {
            return refusal.to_owned();
        }
        if !user.has(identity) {
            return "NotFound".to_owned();
        }
        if user.password.is_empty() && user.linked.len() == 1 {
            return "Last".to_owned();
        }
        user.linked.retain(|one| one.identity != identity);
        format!("Unlinked({})", user.end(|session| session.by == Some(identity)))
    }
}
