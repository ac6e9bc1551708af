//! The simulated cluster goes wrong as it says, and tells the truth about it; that it is a Marathon, conformance says.

use serde_json::json;
use teal_core::action::{InstanceAction, Lock};
use teal_core::name::{RevisionId, Role};
use teal_core::observation::{Health, Phase, RevisionSighting};
use teal_core::{Moment, Span};
use teal_drivers::Orchestrator;
use teal_drivers::clock::{go_with_tokio, now};
use teal_drivers::orchestrators::Marathon;
use teal_drivers::simulated::{Cluster, Mishap, Temper};

const APP: &str = "/oinker";

/// Two tasks that have been up for a while.
async fn cluster(temper: Temper) -> (Cluster, Marathon) {
    go_with_tokio(Moment(1_767_225_600_000));
    let cluster = Cluster::start(temper, 7).await.expect("it starts");
    let definition = json!({ "id": APP, "cmd": "run", "healthChecks": [{ "protocol": "TCP", "intervalSeconds": 2 }] });
    cluster.grow(&definition, 2);
    let marathon = Marathon::connect(&cluster.urls()[0]).expect("an address");
    (cluster, marathon)
}

async fn look(cluster: &Cluster, marathon: &Marathon) -> RevisionSighting {
    let ids = [RevisionId::from(APP)];
    for _ in 0..100 {
        if let Ok(mut seen) = marathon.observe(&ids).await {
            return seen.remove(0);
        }
        cluster.let_pass(Span(100)).await;
    }
    panic!("it never answers")
}

fn scale(instances: u32) -> InstanceAction {
    InstanceAction::Scale {
        role: Role::Blue,
        revision: RevisionId::from(APP),
        instances,
        lock: Lock::Respect,
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_and_a_late_change_have_their_effect() {
    for temper in [
        Temper {
            lost_answers: 500,
            ..Temper::CALM
        },
        Temper {
            late: 500,
            ..Temper::CALM
        },
    ] {
        let (cluster, marathon) = cluster(temper).await;

        for _ in 0..100 {
            drop(marathon.act(&scale(3)).await);
        }

        assert_eq!(cluster.wanted(APP), Some(3));
        assert_eq!(cluster.changes()[0].status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_change_of_leader_nothing_is_known_of_health_until_it_is_checked_again() {
    let (cluster, marathon) = cluster(Temper {
        masters: 1,
        ..Temper::CALM
    })
    .await;
    let well = |seen: &RevisionSighting| {
        seen.instances
            .iter()
            .filter(|it| it.health == Health::Healthy)
            .count()
    };
    assert_eq!(well(&look(&cluster, &marathon).await), 2);

    let (leaderless, absent) = (Span(500), Span::ZERO);
    cluster.let_happen(now(), Mishap::LeaderChange { leaderless, absent });
    cluster.let_pass(Span(600)).await;

    assert!(well(&look(&cluster, &marathon).await) < 2);
    cluster.let_pass(Span::seconds(5)).await;
    assert_eq!(well(&look(&cluster, &marathon).await), 2);
}

#[tokio::test(start_paused = true)]
async fn a_task_on_a_lost_agent_is_unreachable_and_one_takes_its_place() {
    let (cluster, marathon) = cluster(Temper::CALM).await;
    let (app, lasts) = (APP.to_owned(), Span::seconds(60));

    cluster.let_happen(now(), Mishap::AgentLost { app, lasts });
    cluster.let_pass(Span(100)).await;

    let lost = |seen: &RevisionSighting| {
        seen.instances
            .iter()
            .filter(|it| it.phase == Phase::Unreachable)
            .count()
    };
    assert!(lost(&look(&cluster, &marathon).await) >= 1);
    cluster.let_pass(Span::seconds(30)).await;
    let working = cluster.truths().into_iter().filter(|truth| truth.works);
    assert_eq!(working.count(), 2);
}
