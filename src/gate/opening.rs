//! What becomes of what was permitted: the firewall is told, a command is started, it is withdrawn, or the next daemon takes it up.

use super::{Gate, Opening};
use crate::grant::{Grant, GrantId};
use crate::replay::{Kept, ReplayStore, StoreError};
use crate::time::Timestamp;

impl Opening {
    pub(super) fn ids_of_superseded(&self) -> impl Iterator<Item = GrantId> {
        self.supersedes.iter().map(|older| older.id)
    }
}

/// What a former daemon left, besides what is among the grants now.
#[derive(Debug, Default)]
pub struct TakenUp {
    /// Written by another version, and not understood.
    pub unread: Vec<GrantId>,
    /// The firewall may hold something that has ended.
    pub any_ended: bool,
}

impl Gate {
    /// Takes up the grants a former daemon left.
    pub fn take_up(&mut self, now: Timestamp) -> Result<TakenUp, StoreError> {
        let Kept { grants, told, unread } = self.replay.kept()?;
        // What has ended is closed by a command still; a firewall is looked through anyway.
        let (over, open): (Vec<Grant>, Vec<Grant>) =
            grants.into_iter().partition(|grant| grant.until <= now && !grant.is_closed_by_command());
        let mut lapsed: Vec<GrantId> = over.iter().map(|grant| grant.id).chain(unread.iter().copied()).collect();
        for grant in open {
            self.grants.insert(grant.clone());
            if grant.cycle().is_none() && grant.id > told {
                self.untold.insert(grant.id);
            } else {
                lapsed.extend(self.grants.superseded_by(&grant).iter().map(|older| older.id));
            }
        }
        self.replay.lapse(lapsed);
        Ok(TakenUp { unread, any_ended: !over.is_empty() })
    }

    /// The firewall has what is to be open. Until somebody says so the next daemon tells it once more, and what would be
    /// superfluous then is kept.
    pub fn told(&mut self, opening: &Opening) {
        if opening.grant.cycle().is_none() {
            self.replay.lapse(opening.ids_of_superseded().collect());
        }
        self.leave(opening.grant.id);
    }

    fn leave(&mut self, id: GrantId) {
        self.untold.remove(&id);
        let up_to = self.untold.first().map_or(self.grants.last(), |first| GrantId(first.0.saturating_sub(1)));
        self.replay.told(up_to);
    }

    /// Whether the firewall may not have been told of it.
    pub fn is_untold(&self, id: GrantId) -> bool {
        self.untold.contains(&id)
    }

    /// One that a former daemon may not have opened, as if it had been knocked for now. `None`: it has ended since.
    pub fn reopen(&mut self, id: GrantId) -> Option<Opening> {
        let grant =
            self.grants.get(id).filter(|grant| grant.is_in_firewall() || grant.access.name().is_some())?.clone();
        let supersedes = self.grants.superseded_by(&grant);
        Some(Opening { grant, supersedes })
    }

    /// The command that opens it is about to be started: it is not to be started again, should this daemon die now.
    pub fn begin(&mut self, id: GrantId) -> Result<(), StoreError> {
        let Some(grant) = self.grants.begin(id) else { return Ok(()) };
        settled(&mut *self.replay, |replay| replay.keep(grant, &[]))
    }

    /// They are closed, and shall stay so should this daemon die now.
    pub fn closed(&mut self, grants: &[GrantId]) -> Result<(), StoreError> {
        let noted = settled(&mut *self.replay, |replay| replay.unkeep(grants));
        if noted.is_err() {
            // With what is written next, then.
            self.replay.lapse(grants.to_vec());
        }
        noted
    }

    /// Takes note that a name was looked up. `false`: the grant has ended since.
    pub fn locate(&mut self, opening: &Opening) -> Result<bool, StoreError> {
        let grant = &opening.grant;
        if !self.grants.contains(grant.id) {
            self.outdate(opening);
            return Ok(false);
        }
        self.grants.insert(grant.clone());
        settled(&mut *self.replay, |replay| replay.keep(grant, &[])).map(|()| true)
    }

    /// The clock may have been set since it was decided.
    pub fn retime(&self, opening: &mut Opening) {
        let Some(until) = self.grants.get(opening.grant.id).map(|grant| grant.until) else { return };
        let shift = opening.grant.until.shift_to(until);
        opening.supersedes.iter_mut().for_each(|older| older.until = older.until.shifted(shift));
        opening.grant.until = until;
    }

    /// The last write of a daemon that leaves open what is.
    pub fn rest(&mut self) -> Result<(), StoreError> {
        self.replay.rest()
    }

    /// Takes an opening back that did not come about: what it would have made superfluous still stands.
    pub fn withdraw(&mut self, opening: &Opening) -> Result<(), StoreError> {
        let stands = self.forget(opening);
        let kept = settled(&mut *self.replay, |replay| stands.iter().try_for_each(|older| replay.keep(older, &[])));
        self.closed(&[opening.grant.id]).and(kept)
    }

    /// The same where the store knows nothing of it. Returns what still stands.
    pub(super) fn forget(&mut self, opening: &Opening) -> Vec<Grant> {
        let id = opening.grant.id;
        self.leave(id);
        if self.grants.remove(id).is_none() {
            self.outdate(opening);
            return Vec::new();
        }
        let mut stands = Vec::new();
        let mut superseded = opening.supersedes.clone();
        while let Some(older) = superseded.pop() {
            match self.outdated.remove(&older.id) {
                Some(before) => superseded.extend(before),
                None => stands.push(older),
            }
        }
        stands.iter().for_each(|older| _ = self.grants.insert(older.clone()));
        stands
    }

    /// It did not come about, and is not there any more.
    fn outdate(&mut self, opening: &Opening) {
        self.outdated.insert(opening.grant.id, opening.supersedes.clone());
        if self.outdated.len() > OUTDATED {
            self.outdated.pop_first();
        }
    }

    /// Whether what the firewall holds under a number is a grant that is known. Another daemon may have used the same number.
    pub fn knows(&self, found: &Grant) -> bool {
        self.grants.get(found.id).is_some_and(|known| known.allow == found.allow)
    }

    /// Takes up what is open and nobody remembers.
    pub fn adopt(&mut self, mut grant: Grant) -> &Grant {
        if self.grants.contains(grant.id)
            && let Ok(id) = self.grants.next_id()
        {
            grant.id = id;
        }
        self.grants.insert(grant)
    }

    /// For what is found open. Used up at once; a full table gives the same number again: then several share it.
    pub fn new_number(&mut self) -> GrantId {
        let id = self.grants.next_id().unwrap_or_default();
        self.grants.use_up(id);
        id
    }
}

/// A change of the store that is durable by itself. It is settled also when it fails, or the next packets would fail with it.
pub(super) fn settled(
    replay: &mut (dyn ReplayStore + Send),
    change: impl FnOnce(&mut dyn ReplayStore) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let changed = change(replay);
    let settled = replay.settle();
    changed.and(settled)
}

/// Grants of one batch, or those whose names are being looked up.
const OUTDATED: usize = 1024;
