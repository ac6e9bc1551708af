//! Ctrl-C: the first asks for a safe end, the second ends at once. Both are safe, since everything can be resumed.

use crate::failure::Exit;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells whether the person, or the system, wants the program to end.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Begins to listen for SIGINT, SIGTERM and SIGHUP.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(false);
        let mut int = signal(SignalKind::interrupt())?;
        let mut term = signal(SignalKind::terminate())?;
        let mut hup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                    _ = hup.recv() => {}
                }
                if sender.send_replace(true) {
                    leave_now();
                }
            }
        });
        Ok(Self(receiver))
    }

    /// Returns one that never comes, for tests and parts that are stopped otherwise.
    #[cfg(test)]
    pub(crate) fn never() -> Self {
        Self(watch::channel(false).1)
    }

    pub(crate) fn is_wanted(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves once the program should end.
    pub(crate) async fn wanted(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|wanted| *wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[expect(
    clippy::exit,
    reason = "the second Ctrl-C means now; the journal makes it safe"
)]
fn leave_now() {
    std::process::exit(i32::from(Exit::Interrupted as u8));
}
