//! What was said and is not answered, and what may come about late: of every word that changes something it is kept when
//! it was said last, or when its answer came or was missed.

use super::{Kill, State};
use crate::action::{InstanceAction, PoolAction};
use crate::journal::Effect;
use crate::name::{InstanceId, Role};
use crate::time::Moment;
use std::collections::BTreeMap;

/// What is announced and not answered, by entry; with what was remembered before it, which holds again if it certainly did
/// not happen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Open {
    kills: BTreeMap<u64, Vec<InstanceId>>,
    admissions: BTreeMap<u64, Before>,
    withdrawals: BTreeMap<u64, Before>,
    creation: Option<Creation>,
    scaling: Option<Scaling>,
}

/// When the same was said before, by instance.
type Before = BTreeMap<InstanceId, Option<Moment>>;

/// Of a revision or a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Creation {
    intent: u64,
    before: Option<Moment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Scaling {
    intent: u64,
    role: Role,
    instances: u32,
    /// When this size was said before.
    before: Option<Moment>,
    emptied_before: Option<Moment>,
}

impl Kill {
    fn missed(&mut self, at: Moment) {
        (self.last, self.unsure) = (self.last.max(at), true);
    }
}

impl State {
    pub(super) fn instance_action(&mut self, seq: u64, at: Moment, action: &InstanceAction) {
        match action {
            InstanceAction::Scale {
                role, instances, ..
            } => {
                self.launched_at = at;
                let scaling = Scaling {
                    intent: seq,
                    role: *role,
                    instances: *instances,
                    before: self.sizes.insert((*role, *instances), at),
                    emptied_before: self.emptied.get(role).copied(),
                };
                // It is said again because nothing was seen of it: the word before may still be on its way.
                if let Some(said) = scaling.before {
                    self.doubt_size(&scaling, said);
                }
                self.note_emptied(&scaling, at);
                self.open.scaling = Some(scaling);
            }
            InstanceAction::Kill { victims, .. } => {
                let ids: Vec<_> = victims
                    .iter()
                    .map(|victim| victim.instance.clone())
                    .collect();
                for id in &ids {
                    let fresh = Kill {
                        first: at,
                        last: at,
                        unsure: false,
                    };
                    let kill = self.killed.entry(id.clone()).or_insert(fresh);
                    (kill.last, kill.unsure) = (at, false);
                }
                self.open.kills.insert(seq, ids);
            }
            InstanceAction::Create { .. } => self.creates(seq, at),
            InstanceAction::Remove { .. } => {}
        }
    }

    pub(super) fn pool_action(&mut self, seq: u64, at: Moment, action: &PoolAction) {
        let (admit, withdraw) = match action {
            PoolAction::Open { .. } => return self.creates(seq, at),
            PoolAction::Change {
                admit, withdraw, ..
            } => (admit, withdraw),
            PoolAction::Close { .. } => return,
        };
        let mut admissions = Before::new();
        for member in admit {
            self.served.insert(member.instance.clone());
            let before = self.admitted.insert(member.instance.clone(), at);
            admissions.insert(member.instance.clone(), before);
            self.withdrawn.remove(&member.instance);
            self.overdue.remove(&member.instance);
        }
        self.open.admissions.insert(seq, admissions);
        let mut withdrawals = Before::new();
        for instance in withdraw {
            self.served.insert(instance.clone());
            self.withdrawn.entry(instance.clone()).or_insert(at);
            // It is said again because nothing was seen of it: the word before may still be on its way.
            let before = self.leaves.insert(instance.clone(), at);
            if let Some(said) = before {
                self.doubt_leave(instance.clone(), said);
            }
            withdrawals.insert(instance.clone(), before);
        }
        self.open.withdrawals.insert(seq, withdrawals);
    }

    fn creates(&mut self, seq: u64, at: Moment) {
        let before = self.created.replace(at);
        self.open.creation = Some(Creation {
            intent: seq,
            before,
        });
    }

    pub(super) fn performed(&mut self, intent: u64, at: Moment) {
        self.open.kills.remove(&intent);
        let entering = self.open.admissions.remove(&intent).unwrap_or_default();
        self.admitted
            .extend(entering.into_keys().map(|id| (id, at)));
        let leaving = self.open.withdrawals.remove(&intent).unwrap_or_default();
        self.leaves.extend(leaving.into_keys().map(|id| (id, at)));
        if self.open.take_creation(intent).is_some() {
            self.created = Some(at);
        }
        if let Some(scaling) = self.open.take_scaling(intent) {
            self.note_emptied(&scaling, at);
        }
    }

    /// What certainly did not happen is forgotten; what may have is reckoned with. A kill that may have happened is said
    /// again soon, and what it was said of gets no traffic again.
    pub(super) fn failed(&mut self, intent: u64, effect: Effect, at: Moment) {
        let entering = self.open.admissions.remove(&intent).unwrap_or_default();
        let leaving = self.open.withdrawals.remove(&intent).unwrap_or_default();
        let creation = self.open.take_creation(intent);
        let scaling = self.open.take_scaling(intent);
        match effect {
            Effect::Unknown => {
                self.doubt_pools(entering, leaving, at);
                self.doubt_sizes(creation, scaling, at);
            }
            Effect::None => {
                restore(&mut self.admitted, entering);
                restore(&mut self.leaves, leaving);
                if let Some(creation) = creation {
                    self.created = creation.before;
                }
                if let Some(scaling) = scaling {
                    let (role, instances) = (scaling.role, scaling.instances);
                    restore(&mut self.sizes, [((role, instances), scaling.before)]);
                    restore(&mut self.emptied, [(role, scaling.emptied_before)]);
                }
            }
        }
        for id in self.open.kills.remove(&intent).unwrap_or_default() {
            let Some(kill) = self.killed.get_mut(&id) else {
                continue;
            };
            if effect == Effect::None && kill.first == kill.last {
                self.killed.remove(&id);
            } else {
                kill.missed(at);
            }
        }
    }

    /// The process that announced them is gone: whether they were said is not known.
    pub(super) fn doubt_what_is_open(&mut self, at: Moment) {
        let open = std::mem::take(&mut self.open);
        for entering in open.admissions.into_values() {
            self.doubt_pools(entering, Before::new(), at);
        }
        for leaving in open.withdrawals.into_values() {
            self.doubt_pools(Before::new(), leaving, at);
        }
        self.doubt_sizes(open.creation, open.scaling, at);
        for id in open.kills.into_values().flatten() {
            if let Some(kill) = self.killed.get_mut(&id) {
                kill.missed(at);
            }
        }
    }

    fn doubt_pools(&mut self, entering: Before, leaving: Before, at: Moment) {
        let unsure = entering.into_keys().map(|id| (id, at));
        self.unsure_admissions.extend(unsure);
        for id in leaving.into_keys() {
            self.doubt_leave(id, at);
        }
    }

    fn doubt_sizes(&mut self, creation: Option<Creation>, scaling: Option<Scaling>, at: Moment) {
        if creation.is_some() {
            self.created = Some(at);
        }
        if let Some(scaling) = scaling {
            self.doubt_size(&scaling, at);
            self.note_emptied(&scaling, at);
        }
    }

    /// A word that was said before this one may have been missed after it was said: the later moment counts.
    fn doubt_leave(&mut self, id: InstanceId, at: Moment) {
        let latest = self.unsure_leaves.entry(id).or_insert(at);
        *latest = at.max(*latest);
    }

    /// As with leaving; but only a word of the same size says the same.
    fn doubt_size(&mut self, scaling: &Scaling, at: Moment) {
        let before = self.unsure_scales.get(&scaling.role);
        let same = before.filter(|(instances, _)| *instances == scaling.instances);
        let latest = same.map_or(at, |(_, before)| at.max(*before));
        self.unsure_scales
            .insert(scaling.role, (scaling.instances, latest));
    }

    fn note_emptied(&mut self, scaling: &Scaling, at: Moment) {
        if scaling.instances == 0 {
            self.emptied.insert(scaling.role, at);
        }
    }
}

impl Open {
    fn take_creation(&mut self, intent: u64) -> Option<Creation> {
        self.creation.take_if(|open| open.intent == intent)
    }

    fn take_scaling(&mut self, intent: u64) -> Option<Scaling> {
        self.scaling.take_if(|open| open.intent == intent)
    }
}

/// What was so before is so again.
fn restore<K: Ord>(
    moments: &mut BTreeMap<K, Moment>,
    before: impl IntoIterator<Item = (K, Option<Moment>)>,
) {
    for (key, before) in before {
        match before {
            Some(at) => moments.insert(key, at),
            None => moments.remove(&key),
        };
    }
}
