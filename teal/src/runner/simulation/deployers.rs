//! The deployers of a run: one carries the deployment on until it ends or until it is killed; then the next one does.

use super::scribe::{Progress, Scribe};
use super::{Death, Deed, Tear, When};
use crate::commands::drive::{self, Wish};
use crate::interrupt::Interrupt;
use crate::journal_file::{self, JournalFile};
use crate::runner::{End, Runner};
use crate::store::Store;
use crate::systems::Systems;
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use teal_core::definition::Definition;
use teal_core::journal::{Command, Event, Outcome, State};
use teal_core::name::DeploymentId;
use teal_core::plan::Plan;
use teal_core::settings::Settings;
use teal_core::{Moment, Span};
use tokio::sync::watch;

/// A person who is called looks after so long.
const PERSON_COMES: Span = Span::seconds(20);

/// The world that a deployment is played in.
pub(super) trait Theatre {
    /// The systems as a process has them that has just begun.
    fn systems(&self) -> Systems;
    /// Adds a line to the story.
    fn tell(&self, line: &dyn Fn() -> String);
    /// What the operator asks for, before it is asked.
    fn hears(&self, _command: &Command) {}
    /// Whether another machine can go on as well as this one could: it has nothing but what GREEN's labels carry.
    fn may_move(&self, _state: &State) -> bool {
        true
    }
}

pub(super) struct Deployers<'a> {
    theatre: &'a dyn Theatre,
    folder: tempfile::TempDir,
    pub(super) store: Store,
    machines: u32,
    pub(super) began: Moment,
    pub(super) resumed: u64,
    pub(super) stuck: u64,
    /// How often a person may be called before that counts as a broken promise.
    pub(super) stuck_max: u64,
    pub(super) breaches: Vec<String>,
}

impl<'a> Deployers<'a> {
    pub(super) fn new(theatre: &'a dyn Theatre) -> Self {
        let folder = folder();
        Self {
            theatre,
            store: Store::open(&folder.path().join("0")).unwrap(),
            folder,
            machines: 0,
            began: crate::clock::now(),
            resumed: 0,
            stuck: 0,
            stuck_max: 0,
            breaches: Vec::new(),
        }
    }

    /// Plans again until the world can be asked, as a person would.
    pub(super) async fn plan(&self, green: &str, set: &[(&'static str, String)]) -> Plan {
        let mut settings = Settings::default();
        for (name, value) in set {
            settings.set(name, value, "the scenario").unwrap();
        }
        let (definition, settings) = Definition::resolve(green, &settings, &[]).unwrap();
        for _ in 0..100 {
            let wish = Wish {
                definition: &definition,
                settings: &settings,
                revision: Some("b"),
                replace: None,
            };
            let systems = self.theatre.systems();
            let made = drive::make_plan(&systems, &wish, DeploymentId::from("d1")).await;
            if let Ok(plan) = made {
                let plan = plan.unwrap();
                self.theatre.tell(&|| {
                    format!(
                        "teal: plan for {}: target {}, floor {}, room {}",
                        plan.service, plan.target, plan.floor, plan.room
                    )
                });
                return plan;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("no plan can be made");
    }

    /// Carries the deployment on, whatever becomes of those who do. None: it ended otherwise than it may.
    pub(super) async fn run(&mut self, plan: &Plan, deeds: &[(When, Deed)]) -> Option<Outcome> {
        let mut deeds: VecDeque<_> = deeds.to_vec().into();
        let path = self.store.journal(&plan.deployment);
        let mut journal = JournalFile::create(&path, plan, crate::clock::now()).unwrap();
        loop {
            let death = match self.run_until_death(journal, &mut deeds).await {
                Ok(End::Outcome(Outcome::Stuck { reason })) => {
                    self.stuck += 1;
                    if self.stuck > self.stuck_max {
                        self.breaches.push(format!("P7: stuck: {reason}"));
                        return None;
                    }
                    Death {
                        away: PERSON_COMES,
                        elsewhere: false,
                        back: false,
                        tear: Tear::Whole,
                    }
                }
                Ok(End::Outcome(outcome)) => return Some(outcome),
                Ok(End::Interrupted) => panic!("nobody interrupts"),
                Err(death) => death,
            };
            tokio::time::sleep(death.away.duration()).await;
            self.resumed += 1;
            journal = self.next_journal(plan, death).await;
        }
    }

    /// Runs one deployer until the deployment ends, or until it dies.
    async fn run_until_death(
        &mut self,
        journal: JournalFile,
        deeds: &mut VecDeque<(When, Deed)>,
    ) -> Result<End, Death> {
        let plan = journal.plan.clone();
        let lock = self.store.lock(&plan.service, &plan.deployment).unwrap();
        let (systems, store) = (self.theatre.systems(), self.store.clone());
        let mut runner = Runner::new(store, journal, systems, Interrupt::never(), lock).unwrap();
        let (sender, mut progress) = watch::channel(Progress::default());
        let mut audience = Scribe {
            theatre: self.theatre,
            progress: sender,
            breaches: Vec::new(),
            waits: String::new(),
        };
        let mut running = Box::pin(runner.run(&mut audience));
        let end = loop {
            let Some((when, deed)) = deeds.front().cloned() else {
                break Ok(running.as_mut().await.unwrap());
            };
            tokio::select! {
                biased;
                () = due(when, self.began, &mut progress) => {}
                end = running.as_mut() => break Ok(end.unwrap()),
            }
            deeds.pop_front();
            self.theatre.tell(&|| format!("DEED {deed:?}"));
            match deed {
                Deed::Say(command) => {
                    self.theatre.hears(&command);
                    self.store.post(&plan.deployment, &command).unwrap();
                    // Letters are told apart by their time.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Deed::Die(death) => break Err(death),
            }
        };
        drop(running);
        self.breaches.extend(audience.breaches);
        end
    }

    /// What the next deployer goes on with: the journal, or elsewhere what GREEN carries, if it is there.
    async fn next_journal(&mut self, plan: &Plan, death: Death) -> JournalFile {
        let mut path = self.store.journal(&plan.deployment);
        tear(&path, death.tear);
        let (_, state) = State::replay(&journal_file::read(&path).unwrap()).unwrap();
        if death.elsewhere
            && self.theatre.may_move(&state)
            && let Some(carried) = self.carried(plan).await
        {
            self.machines += 1;
            let root = self.folder.path().join(self.machines.to_string());
            self.store = Store::open(&root).unwrap();
            path = self.store.journal(&carried.deployment);
            self.theatre
                .tell(&|| "teal: another machine goes on".to_owned());
            drop(JournalFile::create(&path, &carried, crate::clock::now()).unwrap());
        }
        let mut journal = JournalFile::open(&path).unwrap();
        if journal
            .state
            .outcome
            .as_ref()
            .is_some_and(|outcome| !matches!(outcome, Outcome::Stuck { .. }))
        {
            return journal;
        }
        let command = if death.back {
            let reason = "nobody was there".to_owned();
            Command::Rollback { reason }
        } else {
            Command::Resume
        };
        self.theatre.hears(&command);
        let by = format!("simulation:{}", self.resumed);
        let letter = None;
        for event in [Event::Resumed { by }, Event::Asked { command, letter }] {
            journal.write(crate::clock::now(), event).unwrap();
        }
        journal
    }

    /// Asks again until the world answers.
    async fn carried(&self, plan: &Plan) -> Option<Plan> {
        for _ in 0..100 {
            match drive::carried(&self.theatre.systems(), &plan.service).await {
                Ok(carried) => return carried,
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
        None
    }

    /// Every journal of the deployment, one a machine that went on with it.
    pub(super) fn journals(&self, plan: &Plan) -> Vec<PathBuf> {
        let roots = (0..=self.machines).map(|root| self.folder.path().join(root.to_string()));
        let stores = roots.map(|root| Store::open(&root).unwrap());
        stores
            .map(|store| store.journal(&plan.deployment))
            .filter(|path| path.exists())
            .collect()
    }

    /// P9: no lock and no letter is left.
    pub(super) fn check_store(&mut self, plan: &Plan) {
        if self.store.lock(&plan.service, &plan.deployment).is_err() {
            self.breaches.push("P9: the lock is still held".to_owned());
        }
        if !self.store.letters(&plan.deployment).is_empty() {
            self.breaches.push("P9: a letter is left".to_owned());
        }
    }
}

/// Resolves when a deed is due.
async fn due(when: When, began: Moment, progress: &mut watch::Receiver<Progress>) {
    let base = progress.borrow().entries;
    let until = async |after: Span| {
        let left = (began + after).since(crate::clock::now());
        tokio::time::sleep(left.duration()).await;
    };
    match when {
        When::After(after) => until(after).await,
        When::Entries(count) => {
            drop(progress.wait_for(|now| now.entries >= base + count).await);
        }
        When::Awaited(after) => {
            tokio::select! {
                biased;
                _ = progress.wait_for(|now| now.waits_for_operator) => {}
                () = until(after) => {}
            }
        }
    }
}

/// Journals are forced to disk at every step: in memory that costs nothing.
fn folder() -> tempfile::TempDir {
    let in_memory = Path::new("/dev/shm");
    tempfile::tempdir_in(in_memory)
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Does to the end of a journal what a death in the middle of writing, or that of the machine, may do to it.
fn tear(path: &Path, how: Tear) {
    let mut bytes = fs::read(path).unwrap();
    let lines: Vec<Vec<u8>> = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    match how {
        Tear::Whole => return,
        // Half of any entry serves: what is cut off cannot be read.
        Tear::CutOff => {
            let last = lines.last().unwrap();
            bytes.extend(&last[..last.len() / 2]);
        }
        Tear::Unsynced => {
            let entries = journal_file::read(path).unwrap();
            let is_kept = |event: &Event| match event {
                Event::Begun { .. }
                | Event::Intended { .. }
                | Event::Asked { .. }
                | Event::Ended { .. } => true,
                Event::Performed { .. }
                | Event::Failed { .. }
                | Event::Seen { .. }
                | Event::Resumed { .. } => false,
            };
            let last = entries.iter().rposition(|entry| is_kept(&entry.event));
            bytes = lines[..=last.unwrap()].concat();
        }
    }
    fs::write(path, bytes).unwrap();
}
