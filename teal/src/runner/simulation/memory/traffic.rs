//! Requests through the pool, and the operations that go on behind their answers. Each one is followed to its end:
//! none may get lost by what teal does.

use super::world::{By, Happening, State};
use std::collections::BTreeMap;
use teal_core::name::InstanceId;
use teal_core::observation::EndpointState;

/// For how long a request that has been answered may show neither as a request nor as an operation: less than a drain's
/// samples span (two intervals of 200 ms), so a gauge that reads zero in between can be seen through.
const UNSEEN_MS: u64 = 250;

#[derive(Debug, Default)]
pub(super) struct Traffic {
    requests: BTreeMap<u64, InstanceId>,
    operations: BTreeMap<u64, Operation>,
    numbered: u64,
    pub(super) served: u64,
    pub(super) done: u64,
    pub(super) lost_to_the_world: u64,
    pub(super) lost_to_force: u64,
}

#[derive(Debug)]
struct Operation {
    at: InstanceId,
    shows_from: teal_core::Moment,
}

impl Traffic {
    /// Returns how many requests an instance has under way.
    pub(super) fn in_flight(&self, id: &InstanceId) -> u64 {
        self.requests.values().filter(|at| *at == id).count() as u64
    }

    /// Returns how many operations an instance really has pending.
    pub(super) fn pending(&self, id: &InstanceId) -> u64 {
        let here = self.operations.values().filter(|one| one.at == *id);
        here.count() as u64
    }
}

impl State {
    /// Returns what an instance's gauge says.
    pub(super) fn gauge(&self, id: &InstanceId) -> u64 {
        let here = self.traffic.operations.values();
        let here = here.filter(|one| one.at == *id && one.shows_from <= self.now);
        here.count() as u64
    }

    pub(super) fn request_arrives(&mut self) {
        let pause = 2000 / self.temper.per_s.max(1);
        self.after(1, pause, Happening::Arrival);
        let Some(pool) = &self.pool else {
            self.traffic.lost_to_the_world += 1;
            return;
        };
        let serving = pool
            .iter()
            .filter(|(_, endpoint)| endpoint.state == EndpointState::Serving);
        let serving: Vec<&InstanceId> = serving.map(|(id, _)| id).collect();
        let Some(to) = self.chance.one_of(&serving).map(|id| (*id).clone()) else {
            self.traffic.lost_to_the_world += 1;
            return;
        };
        let one = self.instances.get(&to);
        if one.is_some_and(super::world::Instance::works) {
            self.traffic.numbered += 1;
            let number = self.traffic.numbered;
            self.traffic.requests.insert(number, to);
            self.after(10, 1500, Happening::RequestEnds(number));
            return;
        }
        self.traffic.lost_to_the_world += 1;
        let stopped_by = match one {
            Some(one) => one.dying,
            None => self.judge.stopped.get(&to).copied(),
        };
        if stopped_by == Some(By::Teal) {
            self.breach(format!(
                "P2: a request went to {to}, which teal has stopped"
            ));
        }
    }

    /// An acknowledged request may leave an operation behind.
    pub(super) fn request_ends(&mut self, request: u64) {
        let Some(at) = self.traffic.requests.remove(&request) else {
            return;
        };
        self.traffic.served += 1;
        self.leave_forgotten();
        if !self.chance.happens(500) {
            return;
        }
        let unseen = self.chance.span(0, UNSEEN_MS);
        let shows_from = self.now + unseen;
        let operation = Operation { at, shows_from };
        self.traffic.operations.insert(request, operation);
        let long = self.chance.happens(self.temper.long_operations);
        let (from, to) = if long { (10_000, 60_000) } else { (100, 4000) };
        self.after(
            from + unseen.0,
            to + unseen.0,
            Happening::OperationEnds(request),
        );
    }

    pub(super) fn operation_ends(&mut self, operation: u64) {
        let done = self.traffic.operations.remove(&operation).is_some();
        self.traffic.done += u64::from(done);
    }

    /// What was at work in an instance has gone with it. Whether that is teal's fault was judged when it was stopped.
    pub(super) fn traffic_ends(&mut self, id: &InstanceId, stopped_by: Option<By>) {
        let lost = self.traffic.in_flight(id) + self.traffic.pending(id);
        self.traffic.requests.retain(|_, at| at != id);
        self.traffic.operations.retain(|_, one| one.at != *id);
        match stopped_by {
            Some(By::Force) => self.traffic.lost_to_force += lost,
            Some(By::Others) | None => self.traffic.lost_to_the_world += lost,
            Some(By::Teal) if lost > 0 => {
                self.breach(format!(
                    "P2: {lost} got lost in {id}, which teal has stopped"
                ));
            }
            Some(By::Teal) => {}
        }
        self.leave_forgotten();
    }

    /// The balancer restarts: what was under way through it breaks off.
    pub(super) fn requests_break_off(&mut self) {
        self.traffic.lost_to_the_world += self.traffic.requests.len() as u64;
        self.traffic.requests.clear();
    }

    /// Endpoints that are to be forgotten leave the pool when nothing is under way to them.
    pub(super) fn leave_forgotten(&mut self) {
        let (traffic, pool) = (&self.traffic, &mut self.pool);
        if let Some(pool) = pool {
            pool.retain(|id, endpoint| !endpoint.forgotten || traffic.in_flight(id) > 0);
        }
    }
}
