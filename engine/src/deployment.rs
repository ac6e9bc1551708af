//! A deployment: the steps that lead from what was wanted to what is wanted.
//!
//! Follows `DeploymentPlan.scala`: an added app starts and scales, a changed count scales, a changed
//! configuration restarts, a removed app stops. Carrying the steps out is the world's business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::groups::GroupChange;
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
    /// What each affected app was before. These apps are locked.
    pub(crate) originals: BTreeMap<AppId, Option<Arc<Revision>>>,
    /// What became of the groups, where anything did. Groups are not locked.
    pub(crate) groups: Option<GroupChange>,
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

/// Returns what is done to lead one app from `before` to `after`.
fn steps_for(
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

/// One app's part of a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) app: &'a AppId,
    pub(crate) before: Option<&'a Revision>,
    pub(crate) after: Option<&'a Revision>,
    pub(crate) has_victims: bool,
    /// How deep the app stands on others: what has a lower number is changed before it.
    pub(crate) level: usize,
}

/// Returns the steps of a deployment (`DeploymentPlan.apply`): first what goes, stops; then what
/// comes, starts with nothing; then every level is brought to its target, the deepest first.
pub(crate) fn plan_steps(parts: &[Part<'_>]) -> Vec<Vec<Action>> {
    let mut stops = Vec::new();
    let mut starts = Vec::new();
    let mut levels: BTreeMap<usize, Vec<Action>> = BTreeMap::new();
    for part in parts {
        for kind in steps_for(part.before, part.after, part.has_victims) {
            let action = Action {
                kind,
                app: part.app.clone(),
                scaling: None,
            };
            match kind {
                ActionKind::Stop => stops.push(action),
                ActionKind::Start => starts.push(action),
                ActionKind::Scale | ActionKind::Restart => {
                    levels.entry(part.level).or_default().push(action);
                }
            }
        }
    }
    let steps = [stops, starts].into_iter().chain(levels.into_values());
    steps.filter(|step| !step.is_empty()).collect()
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
    fn what_goes_stops_first_what_comes_starts_next_and_levels_follow_each_other() {
        let ids = ["a", "b", "c", "d"].map(AppId::from_text);
        let (one, three) = (revision(1, 1, 1), revision(2, 3, 1));
        let part = |at: usize, before, after, level| Part {
            app: &ids[at],
            before,
            after,
            has_victims: false,
            level,
        };

        let steps = plan_steps(&[
            part(0, None, Some(&one), 1),
            part(1, Some(&one), Some(&three), 0),
            part(2, Some(&one), None, 0),
            part(3, None, Some(&one), 0),
        ]);

        let told: Vec<Vec<String>> = steps
            .iter()
            .map(|step| {
                let told = step
                    .iter()
                    .map(|action| format!("{} {}", action.kind.as_str(), action.app));
                told.collect()
            })
            .collect();
        assert_eq!(
            told,
            [
                vec!["StopApplication /c"],
                vec!["StartApplication /a", "StartApplication /d"],
                vec!["ScaleApplication /b", "ScaleApplication /d"],
                vec!["ScaleApplication /a"],
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
