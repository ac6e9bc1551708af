//! The worlds that are searched: small, and each of another kind.

use crate::node::{self, Node};
use crate::world::World;
use teal_core::Moment;
use teal_core::definition::Definition;
use teal_core::evidence::Evidence;
use teal_core::journal::{Entry, Event, State};
use teal_core::name::{DeploymentId, Role};
use teal_core::plan::{self, BalancerAbilities, Plan, Request};
use teal_core::settings::Settings;

/// When the deployments begin. BLUE has been there since the beginning of time.
pub(crate) const BEGINNING: Moment = Moment(1_000_000);

/// A world to search.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// How many instances BLUE has. GREEN is to have as many, or two where there is no BLUE.
    blue: u32,
    set: &'static [(&'static str, &'static str)],
    sick_green: bool,
    atomic_change: bool,
    /// How many mishaps are combined: in a small search, in the usual one, and in a large one.
    mishaps: [u32; 3],
}

const ROLLING: Setting = Setting {
    name: "rolling, two instances",
    blue: 2,
    set: &[("strategy", "rolling"), ("batch", "1")],
    sick_green: false,
    atomic_change: true,
    mishaps: [0, 1, 2],
};

const SWITCH: Setting = Setting {
    name: "switch, two instances, BLUE kept warm",
    set: &[("strategy", "switch"), ("keep_blue", "3s")],
    ..ROLLING
};

/// The largest first: they are searched side by side.
pub(crate) const WORLDS: &[Setting] = &[
    SWITCH,
    ROLLING,
    Setting {
        name: "a pool that changes in two steps, two instances",
        atomic_change: false,
        mishaps: [0, 0, 1],
        ..ROLLING
    },
    Setting {
        name: "a first deployment of two instances",
        blue: 0,
        ..ROLLING
    },
    Setting {
        name: "rolling, one instance",
        blue: 1,
        mishaps: [1, 1, 2],
        ..ROLLING
    },
    Setting {
        name: "switch, one instance",
        blue: 1,
        mishaps: [1, 1, 2],
        ..SWITCH
    },
    Setting {
        name: "a pool that changes in two steps, one instance",
        blue: 1,
        atomic_change: false,
        mishaps: [1, 1, 2],
        ..ROLLING
    },
    Setting {
        name: "gates, one instance",
        blue: 1,
        set: &[("gates", "shift,retire"), ("keep_blue", "2s")],
        mishaps: [1, 1, 2],
        ..ROLLING
    },
    Setting {
        name: "an overdue drain is forced, one instance",
        blue: 1,
        set: &[
            ("on_drain_deadline", "force"),
            ("force_reason", "it is late"),
        ],
        mishaps: [1, 1, 2],
        ..ROLLING
    },
    Setting {
        name: "an overdue drain is waited for, one instance",
        blue: 1,
        set: &[("on_drain_deadline", "wait")],
        mishaps: [1, 1, 2],
        ..ROLLING
    },
    Setting {
        name: "rolling, GREEN is never healthy",
        sick_green: true,
        ..ROLLING
    },
    Setting {
        name: "rolling, three instances",
        blue: 3,
        mishaps: [0, 0, 1],
        ..ROLLING
    },
    Setting {
        name: "switch, three instances, BLUE kept warm",
        blue: 3,
        mishaps: [0, 0, 1],
        ..SWITCH
    },
];

/// Deadlines are a few looks long, so that a search comes to them.
const SHORT: [(&str, &str); 7] = [
    ("min_healthy_time", "1s"),
    ("healthy_deadline", "7s"),
    ("unhealthy_limit", "2s"),
    ("drain_interval", "1s"),
    ("drain_samples", "2"),
    ("drain_deadline", "7s"),
    ("patience", "20s"),
];

impl Setting {
    /// How many mishaps are combined: as TEAL_MISHAPS says, or as TEAL_MODEL (small, large) does.
    pub(crate) fn mishaps(&self) -> u32 {
        let told = |name| std::env::var(name).ok();
        if let Some(count) = told("TEAL_MISHAPS").and_then(|text| text.parse().ok()) {
            return count;
        }
        match told("TEAL_MODEL").as_deref() {
            Some("small") => self.mishaps[0],
            Some("large") => self.mishaps[2],
            Some(_) | None => self.mishaps[1],
        }
    }

    /// Returns the plan, and the state in which the deployment begins.
    pub(crate) fn beginning(&self) -> (Plan, Node) {
        let mut world = World::new(self.sick_green);
        if self.blue > 0 {
            world.grow(Role::Blue, self.blue, Moment(0));
        }
        let plan = self.plan(&world);
        let event = Event::Begun {
            plan: Box::new(plan.clone()),
        };
        let begun = Entry {
            seq: 1,
            at: BEGINNING,
            event,
        };
        let (_, state) = State::begin(&begun).unwrap();
        let node = Node {
            now: BEGINNING,
            state,
            evidence: Evidence::default(),
            world,
            mishaps: self.mishaps(),
            steps: 0,
        };
        (plan, node)
    }

    fn plan(&self, world: &World) -> Plan {
        let mut settings = Settings::default();
        for (name, value) in SHORT.iter().chain(self.set) {
            settings.set(name, value, "the model").unwrap();
        }
        let text = r#"{"id":"/oinker","cmd":"run","instances":2,"healthChecks":[{"protocol":"TCP"}],
            "labels":{"TEAL_PENDING_PATH":"/metrics","TEAL_PENDING_GAUGE":"pending"}}"#;
        let (definition, settings) = Definition::resolve(text, &settings, &[]).unwrap();
        let found = node::sight(world).into_values().map(|sighting| {
            let body = serde_json::json!({
                "id": sighting.id, "cmd": "run", "labels": {"TEAL_SERVICE": "oinker"}
            });
            plan::Found {
                definition: body.as_object().unwrap().clone(),
                sighting,
            }
        });
        let balancer = BalancerAbilities {
            in_flight: true,
            atomic_change: self.atomic_change,
            listens: true,
            tcp: true,
        };
        let request = Request {
            definition: &definition,
            settings: &settings,
            revision: Some("b"),
            replace: None,
            found: &found.collect::<Vec<_>>(),
            pools: &node::pools(world),
            balancer,
            deployment: DeploymentId::from("d1"),
            now: BEGINNING,
        };
        plan::make(&request).unwrap().unwrap()
    }
}
