//! A deployment: the steps that lead from what was wanted to what is wanted.
//!
//! Follows `DeploymentPlan.scala`: an added app starts and scales, a changed count scales, a changed
//! configuration restarts, a removed app stops. Carrying the steps out is the world's business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identity::{AppId, InstanceId};
use crate::model::Revision;
use crate::time::Stamp;

/// One running deployment.
#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) id: String,
    pub(crate) version: Stamp,
    pub(crate) steps: Vec<Vec<Action>>,
    /// The number of the step being carried out, counted from 1; 0 before the first.
    pub(crate) current: usize,
    /// What each affected app was before.
    pub(crate) originals: BTreeMap<AppId, Option<Arc<Revision>>>,
    /// Instances that were named to die when their app is scaled down.
    pub(crate) victims: BTreeSet<InstanceId>,
}

/// One app's part of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Action {
    pub(crate) kind: ActionKind,
    pub(crate) app: AppId,
    /// What a scaling action found when it began.
    pub(crate) scaling: Option<Scaling>,
}

/// What is done to an app. The names are Marathon's, which clients know by heart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ActionKind {
    Start,
    Scale,
    Restart,
    Stop,
}

/// What a scaling action waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Scaling {
    /// The instances that were there before: their health is not waited for.
    pub(crate) before: BTreeSet<InstanceId>,
    /// How many others must become healthy.
    pub(crate) to_start: usize,
}

impl ActionKind {
    /// Returns Marathon's word for the action.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Start => "StartApplication",
            Self::Scale => "ScaleApplication",
            Self::Restart => "RestartApplication",
            Self::Stop => "StopApplication",
        }
    }
}

impl Deployment {
    /// Returns whether the deployment locks an app.
    pub(crate) fn affects(&self, app: &AppId) -> bool {
        self.originals.contains_key(app)
    }

    /// Returns the actions being carried out.
    pub(crate) fn current_actions(&self) -> &[Action] {
        match self.current.checked_sub(1) {
            None => &[],
            Some(index) => self.steps.get(index).map_or(&[], Vec::as_slice),
        }
    }
}

/// Returns the steps that lead one app from `before` to `after`.
pub(crate) fn steps_for(
    before: Option<&Revision>,
    after: Option<&Revision>,
    has_victims: bool,
) -> Vec<ActionKind> {
    match (before, after) {
        (None, None) => Vec::new(),
        (None, Some(_)) => vec![ActionKind::Start, ActionKind::Scale],
        (Some(_), None) => vec![ActionKind::Stop],
        (Some(before), Some(after)) => {
            let same_count = before.definition.instances == after.definition.instances;
            let same_configuration = before.same_configuration(after);
            if same_configuration && same_count && !has_victims {
                Vec::new()
            } else if same_configuration || after.definition.instances == 0 {
                vec![ActionKind::Scale]
            } else {
                vec![ActionKind::Restart]
            }
        }
    }
}

/// Merges the steps of several apps: the nth steps of all run together.
pub(crate) fn join_steps(apps: Vec<(AppId, Vec<ActionKind>)>) -> Vec<Vec<Action>> {
    let mut steps: Vec<Vec<Action>> = Vec::new();
    for (app, kinds) in apps {
        for (index, kind) in kinds.into_iter().enumerate() {
            if steps.len() == index {
                steps.push(Vec::new());
            }
            steps[index].push(Action {
                kind,
                app: app.clone(),
                scaling: None,
            });
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::definition;

    #[test]
    fn the_steps_follow_from_what_changed() {
        let one = revision(1, 1, 1);
        let three = revision(2, 3, 1);
        let other = revision(3, 1, 3);
        let other_none = revision(4, 0, 4);
        let steps = |before, after| steps_for(before, after, false);

        assert_eq!(
            steps(None, Some(&one)),
            [ActionKind::Start, ActionKind::Scale]
        );
        assert_eq!(steps(Some(&one), Some(&three)), [ActionKind::Scale]);
        assert_eq!(steps(Some(&one), Some(&other)), [ActionKind::Restart]);
        assert_eq!(steps(Some(&one), Some(&other_none)), [ActionKind::Scale]);
        assert_eq!(steps(Some(&one), None), [ActionKind::Stop]);
        assert_eq!(steps(Some(&one), Some(&one)), []);
        assert_eq!(steps_for(Some(&one), Some(&one), true), [ActionKind::Scale]);
    }

    #[test]
    fn steps_of_several_apps_run_side_by_side() {
        let (a, b) = (AppId::from_text("a"), AppId::from_text("b"));

        let steps = join_steps(vec![
            (a, vec![ActionKind::Start, ActionKind::Scale]),
            (b, vec![ActionKind::Scale]),
        ]);

        let kinds: Vec<Vec<ActionKind>> = steps
            .iter()
            .map(|step| step.iter().map(|action| action.kind).collect())
            .collect();
        assert_eq!(
            kinds,
            [
                vec![ActionKind::Start, ActionKind::Scale],
                vec![ActionKind::Scale]
            ]
        );
    }

    fn revision(version: i64, instances: u32, config: i64) -> Revision {
        let mut definition = definition();
        definition.instances = instances;
        Revision {
            definition,
            version: Stamp::from_milliseconds(version),
            last_scaling_at: Stamp::from_milliseconds(version),
            last_config_change_at: Stamp::from_milliseconds(config),
        }
    }
}
