//! Marathon, from 0.13 to 1.11, and teal's own engine, which speaks its API.
//!
//! A revision is an app, an instance is a task. What a task's and an app's fields mean is in `app`, what an app
//! looks like when it is to be posted again in `definition`, and the event stream in `events`.
//!
//! Facts that shape this file, from Marathon's source and its issue tracker:
//! * A change answers when it is accepted, and a client that gave up waiting cannot tell whether it was. So nothing
//!   is resent here; the caller looks again.
//! * `POST /v2/tasks/delete` answers 200 for task ids that it does not know (mesosphere/marathon#3208).
//! * A task that was told to stop stays listed until Mesos confirms it, and without the feature `task_killing` it
//!   looks like any other. A scale-kill that is repeated in that window takes the app one further down, and Marathon
//!   then stops an instance of its own choice. So no kill is sent while more tasks are listed than are wanted.
//! * `DELETE /v2/apps/{id}` is forced unless told otherwise (since 1.3, whatever its documentation says).

mod app;
mod definition;
mod events;
mod reckoning;

use crate::http::{Access, Client, Method, segment};
use crate::{DriverError, Orchestrator};
use app::{App, AppEnvelope, AppsEnvelope};
use async_trait::async_trait;
use events::{Events, SILENCE_MAX};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use reckoning::Reckoning;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use teal_core::action::{InstanceAction, Lock, Victim};
use teal_core::name::RevisionId;
use teal_core::observation::{Phase, RevisionSighting};
use teal_core::plan::Found;

/// The label that says which deployment created an app.
pub const DEPLOYMENT_LABEL: &str = "TEAL_DEPLOYMENT";
/// How many apps are asked about at once.
const QUESTIONS_AT_ONCE: usize = 16;

/// A Marathon server.
#[derive(Debug)]
pub struct Marathon {
    client: Client,
    events: Events,
    reckoning: Reckoning,
}

impl Marathon {
    /// Returns a driver for the Marathon at `url`: `http://host:8080`, or with a path before `/v2`. Nothing is sent
    /// yet.
    ///
    /// # Errors
    /// [`DriverError::Unusable`] when this is no such address.
    pub fn connect(url: &str) -> Result<Self, DriverError> {
        Self::open(Access::at(url))
    }

    /// Returns a driver for a Marathon with several masters, behind TLS, or one that wants to know who asks. Nothing
    /// is sent yet.
    ///
    /// # Errors
    /// [`DriverError::Unusable`] when an address, a file or a secret cannot be used.
    pub fn open(access: Access) -> Result<Self, DriverError> {
        let client = Client::open(access)?;
        Ok(Self {
            events: Events::new(client.clone(), SILENCE_MAX),
            client,
            reckoning: Reckoning::default(),
        })
    }

    /// Returns the driver with another limit for how long the event stream may be silent, heartbeats included, before it
    /// is taken for dead and opened again. Only before anybody waits for a change.
    #[must_use]
    pub fn with_silence_limit(mut self, limit: Duration) -> Self {
        self.events = Events::new(self.client.clone(), limit);
        self
    }

    /// Returns the client, for what is asked of Marathon by hand.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Returns an app and what is seen of it as a revision; None when it does not exist.
    async fn app(
        &self,
        revision: &RevisionId,
    ) -> Result<Option<(App, RevisionSighting)>, DriverError> {
        let asked = crate::clock::now();
        let answer = self
            .client
            .call(Method::GET, &app_path(revision), None)
            .await?;
        if answer.is_missing() {
            return Ok(None);
        }
        let envelope: AppEnvelope = answer.read()?;
        let clock = self.reckoning.clock(asked, &answer);
        let sighting = envelope.app.sighting(&clock);
        self.reckoning.keep(&clock);
        let sighting = sighting.map_err(|why| answer.malformed(why))?;
        Ok(Some((envelope.app, sighting)))
    }

    async fn sight(&self, revision: &RevisionId) -> Result<Option<RevisionSighting>, DriverError> {
        let Some((_, mut sighting)) = self.app(revision).await? else {
            return Ok(None);
        };
        // As it was asked for: Marathon answers for `/x//y/` too.
        sighting.id = revision.clone();
        Ok(Some(sighting))
    }

    async fn create(&self, revision: &RevisionId, definition: &Value) -> Result<(), DriverError> {
        let mut body = definition.clone();
        if let Some(body) = body.as_object_mut() {
            body.insert("id".to_owned(), json!(revision.as_str()));
            body.insert("instances".to_owned(), json!(0));
        }
        let answer = self
            .client
            .call(Method::POST, "/v2/apps", Some(&body))
            .await?;
        let refusal = match answer.check() {
            Ok(()) => return Ok(()),
            Err(refusal @ DriverError::Refused { .. }) if answer.status == 409 => refusal,
            Err(error) => return Err(about(revision, error)),
        };
        let Some((existing, _)) = self.app(revision).await? else {
            return Err(refusal);
        };
        let ours = definition
            .pointer("/labels")
            .and_then(|labels| labels.get(DEPLOYMENT_LABEL));
        let theirs = existing.label(DEPLOYMENT_LABEL);
        if ours.and_then(Value::as_str) == theirs {
            return Ok(());
        }
        Err(taken(revision, theirs))
    }

    async fn scale(&self, revision: &RevisionId, to: u32, lock: Lock) -> Result<(), DriverError> {
        let Some((app, _)) = self.app(revision).await? else {
            return Err(missing(revision));
        };
        if app.instances == to {
            return Ok(());
        }
        let path = format!("{}{}", app_path(revision), force(lock, '?'));
        let body = app.resized(to);
        match self.change(revision, Method::PUT, &path, Some(&body)).await {
            // Marathon takes a PUT of an app that has just been removed for a creation, and a size alone is none.
            Err(DriverError::Refused { .. }) if self.app(revision).await?.is_none() => {
                Err(missing(revision))
            }
            done => done,
        }
    }

    async fn kill(
        &self,
        revision: &RevisionId,
        victims: &[Victim],
        lock: Lock,
    ) -> Result<(), DriverError> {
        let Some((app, sighting)) = self.app(revision).await? else {
            return Ok(());
        };
        let named: BTreeSet<&str> = victims
            .iter()
            .map(|victim| victim.instance.as_str())
            .collect();
        let ids: Vec<&str> = sighting
            .instances
            .iter()
            .filter(|instance| named.contains(instance.id.as_str()))
            .filter(|instance| instance.phase != Phase::Stopping)
            .map(|instance| instance.id.as_str())
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        if stops_under_way(&sighting) || (sighting.locked && lock == Lock::Respect) {
            return Err(DriverError::Locked {
                what: revision.to_string(),
                by: app.locked_by(),
            });
        }
        let path = format!("/v2/tasks/delete?scale=true{}", force(lock, '&'));
        let body = json!({ "ids": ids });
        self.change(revision, Method::POST, &path, Some(&body))
            .await
    }

    async fn remove(&self, revision: &RevisionId) -> Result<(), DriverError> {
        let Some((_, sighting)) = self.app(revision).await? else {
            return Ok(());
        };
        if !sighting.instances.is_empty() {
            // One may have been launched since the caller looked: it has to look again.
            return Err(DriverError::Busy {
                url: self.client.url(),
                message: format!(
                    "{revision} still has {} instances, and removing it would stop them all",
                    sighting.instances.len()
                ),
            });
        }
        let path = format!("{}?force=false", app_path(revision));
        match self.change(revision, Method::DELETE, &path, None).await {
            Err(DriverError::NotFound { .. }) => Ok(()),
            done => done,
        }
    }

    async fn change(
        &self,
        revision: &RevisionId,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(), DriverError> {
        let answer = self.client.call(method, path, body).await?;
        answer.check().map_err(|error| about(revision, error))
    }
}

#[async_trait]
impl Orchestrator for Marathon {
    async fn find(&self) -> Result<Vec<Found>, DriverError> {
        let asked = crate::clock::now();
        let answer = self
            .client
            .call(Method::GET, "/v2/apps?embed=apps.tasks", None)
            .await?;
        let envelope: AppsEnvelope = answer.read()?;
        let clock = self.reckoning.clock(asked, &answer);
        let found = envelope.apps.into_iter().map(|listed| {
            let definition = definition::postable(listed.fields.clone());
            let app = App::read(listed)?;
            Ok(Found {
                definition,
                sighting: app.sighting(&clock)?,
            })
        });
        found
            .collect::<Result<_, String>>()
            .map_err(|why| answer.malformed(why))
    }

    async fn observe(
        &self,
        revisions: &[RevisionId],
    ) -> Result<Vec<RevisionSighting>, DriverError> {
        self.events.watch(revisions);
        let questions: Vec<_> = revisions
            .iter()
            .map(|revision| self.sight(revision))
            .collect();
        let answers: Vec<_> = stream::iter(questions)
            .buffered(QUESTIONS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(answers.into_iter().flatten().collect())
    }

    async fn act(&self, action: &InstanceAction) -> Result<(), DriverError> {
        match action {
            InstanceAction::Create {
                revision,
                definition,
                ..
            } => self.create(revision, definition).await,
            InstanceAction::Scale {
                revision,
                instances,
                lock,
                ..
            } => self.scale(revision, *instances, *lock).await,
            InstanceAction::Kill {
                revision,
                victims,
                lock,
                ..
            } => self.kill(revision, victims, *lock).await,
            InstanceAction::Remove { revision, .. } => self.remove(revision).await,
        }
    }

    async fn changed(&self) {
        self.events.changed().await;
    }
}

/// Tells whether more tasks are up than are wanted: an earlier scale-down is still being carried out, and it cannot
/// be seen which of them it is about.
fn stops_under_way(sighting: &RevisionSighting) -> bool {
    let up = sighting
        .instances
        .iter()
        .filter(|instance| match instance.phase {
            Phase::Starting | Phase::Running => true,
            Phase::Stopping | Phase::Unreachable => false,
        });
    up.count() > sighting.wanted as usize
}

fn app_path(revision: &RevisionId) -> String {
    let segments = revision
        .as_str()
        .split('/')
        .filter(|part| !part.is_empty())
        .map(segment);
    format!("/v2/apps/{}", segments.collect::<Vec<_>>().join("/"))
}

fn force(lock: Lock, separator: char) -> String {
    match lock {
        Lock::Respect => String::new(),
        Lock::Override => format!("{separator}force=true"),
    }
}

fn missing(revision: &RevisionId) -> DriverError {
    DriverError::NotFound {
        what: format!("app {revision}"),
    }
}

fn taken(revision: &RevisionId, by: Option<&str>) -> DriverError {
    let whose = match by {
        Some(deployment) => format!("deployment {deployment} created it"),
        None => "no deployment of teal created it".to_owned(),
    };
    DriverError::Refused {
        what: format!("the creation of {revision}"),
        message: format!("an app of this id exists already, and {whose}"),
        details: vec![],
    }
}

/// Names the app in an error that names only a path.
fn about(revision: &RevisionId, error: DriverError) -> DriverError {
    match error {
        DriverError::Locked { by, .. } => DriverError::Locked {
            what: revision.to_string(),
            by,
        },
        DriverError::Unreachable { .. }
        | DriverError::Busy { .. }
        | DriverError::NotFound { .. }
        | DriverError::Refused { .. }
        | DriverError::Unauthorized { .. }
        | DriverError::Forbidden { .. }
        | DriverError::Untrusted { .. }
        | DriverError::Malformed { .. }
        | DriverError::Unusable { .. } => error,
    }
}
