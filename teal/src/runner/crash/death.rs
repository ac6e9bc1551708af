//! How a deployer dies: at one exact point between two steps of the program, and without a word.
//!
//! It unwinds from where it stands, as no error does that the program could answer. What it holds (files, its lock) is
//! let go, as the kernel does for a process that is killed. Nothing else of it runs.

use super::super::*;
use async_trait::async_trait;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use teal_core::action::{InstanceAction, PoolAction};
use teal_core::name::{PoolId, RevisionId};
use teal_core::observation::{PoolSighting, RevisionSighting};
use teal_core::plan::Found;
use teal_drivers::chance::Chance;
use teal_drivers::{Balancer, Capabilities, Orchestrator};

/// When a deployer dies. Entries are counted from its own first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// This entry is on disk, and what it announces is not done.
    Written(u64),
    /// What this entry announces is done, and its result is not written.
    Done(u64),
    /// In the middle of writing this entry.
    Torn(u64),
}

/// Returns a journal with its last line cut: in its middle, before its last byte, and somewhere, drawn from the seed.
pub(super) fn cuts(journal: &[u8], seed: u64) -> [&[u8]; 3] {
    let body = &journal[..journal.len() - 1];
    let newline = body.iter().rposition(|byte| *byte == b'\n');
    let start = newline.map_or(0, |at| at + 1);
    let length = journal.len() - start;
    let somewhere = usize::try_from(Chance::new(seed).below(length as u64)).unwrap();
    [length / 2, length - 1, somewhere].map(|kept| &journal[..start + kept])
}

/// How often each action is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    /// Twice, and the first answer counts.
    TwiceFirstAnswer,
    /// Twice, and the second answer counts.
    TwiceSecondAnswer,
}

/// What awaits one process.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) death: Option<Death>,
    pub(super) times: Times,
    entries: AtomicU64,
}

struct Died;

impl Fate {
    pub(super) fn new(death: Option<Death>, times: Times) -> Arc<Self> {
        Arc::new(Self {
            death,
            times,
            entries: AtomicU64::new(0),
        })
    }

    /// An entry was written.
    pub(super) fn written(&self) {
        let count = self.entries.fetch_add(1, Ordering::SeqCst) + 1;
        match self.death {
            Some(Death::Written(at) | Death::Torn(at)) if at == count => die(),
            Some(_) | None => {}
        }
    }

    /// An action was carried out.
    fn done(&self) {
        if self.death == Some(Death::Done(self.entries.load(Ordering::SeqCst))) {
            die();
        }
    }
}

/// Does not go through the hook that prints panics.
fn die() -> ! {
    resume_unwind(Box::new(Died))
}

/// Lets a process live. None: it died.
pub(super) async fn until_death<T>(mut life: Pin<Box<dyn Future<Output = T> + '_>>) -> Option<T> {
    poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| life.as_mut().poll(context))) {
            Ok(poll) => poll.map(Some),
            Err(end) if end.is::<Died>() => Poll::Ready(None),
            Err(panic) => resume_unwind(panic),
        },
    )
    .await
}

/// A driver in the hands of a process that may die.
pub(super) struct Mortal<T> {
    pub(super) inner: T,
    pub(super) fate: Arc<Fate>,
    pub(super) journal: PathBuf,
}

impl<T> Mortal<T> {
    /// Nothing is done that the last line on disk does not announce.
    async fn act<F: Future<Output = Result<(), DriverError>>>(
        &self,
        action: Action,
        act: impl Fn() -> F,
    ) -> Result<(), DriverError> {
        let last = crate::journal_file::read(&self.journal).unwrap().pop();
        let announced = Event::Intended { action };
        assert_eq!(last.map(|entry| entry.event), Some(announced));
        let first = act().await;
        let answer = match self.fate.times {
            Times::Once => first,
            Times::TwiceFirstAnswer => {
                drop(act().await);
                first
            }
            Times::TwiceSecondAnswer => act().await,
        };
        self.fate.done();
        answer
    }
}

#[async_trait]
impl<T: Orchestrator> Orchestrator for Mortal<T> {
    async fn find(&self) -> Result<Vec<Found>, DriverError> {
        self.inner.find().await
    }

    async fn observe(&self, ids: &[RevisionId]) -> Result<Vec<RevisionSighting>, DriverError> {
        self.inner.observe(ids).await
    }

    async fn act(&self, action: &InstanceAction) -> Result<(), DriverError> {
        self.act(Action::Instance(action.clone()), || self.inner.act(action))
            .await
    }

    async fn changed(&self) {
        self.inner.changed().await;
    }
}

#[async_trait]
impl<T: Balancer> Balancer for Mortal<T> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn observe(&self, ids: &[PoolId]) -> Result<Vec<PoolSighting>, DriverError> {
        self.inner.observe(ids).await
    }

    async fn act(&self, action: &PoolAction) -> Result<(), DriverError> {
        self.act(Action::Pool(action.clone()), || self.inner.act(action))
            .await
    }
}
