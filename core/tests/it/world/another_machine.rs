//! A deployment that goes on where nobody has its journal.

use super::World;
use teal_core::evidence::Evidence;
use teal_core::plan::{BalancerAbilities, Plan};

impl World {
    /// Another machine goes on, which has nothing but what GREEN carries.
    pub(crate) fn move_to_another_machine(&mut self) {
        let mut found = self.found();
        let green = found
            .iter_mut()
            .find(|it| it.sighting.id == self.plan.green.revision);
        let green = green.expect("GREEN exists");
        green.definition = self.plan.green.definition.as_object().unwrap().clone();
        let (green, pools) = (green.clone(), self.pools());
        let balancer = BalancerAbilities {
            in_flight: true,
            atomic_change: true,
            listens: true,
            tcp: true,
        };
        self.plan = Plan::carried(&green, &found, &pools, balancer).expect("GREEN carries a plan");
        self.evidence = Evidence::default();
        self.begin();
    }
}
