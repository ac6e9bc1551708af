//! The sample service of the demo: a message board called oinker.
//!
//! It exists to be replaced while it is used. A posted oink is acknowledged at once and committed
//! to the database a little later, so an instance that is killed in between loses a write that it
//! has acknowledged. That gap is its *pending operations*, and `/metrics` says how large it is.
//!
//! It must never protect itself: on SIGTERM it is gone at once, with nothing drained, because no
//! handler is installed. Whatever survives a deployment survives because teal waited.
//!
//! Read next: `server` for the routes, `queue` for the gap between acknowledged and committed.

mod settings;

mod server;

mod board;

mod gauge;

mod streams;

mod socket;

mod reply;

mod queue;

mod store;

#[cfg(test)]
mod tests;

pub(crate) use server::Server;
pub(crate) use settings::Settings;
pub(crate) use store::stored_ids;

/// Serves the message board until the process is killed.
///
/// # Errors
///
/// When the database cannot be opened, or the address cannot be listened on.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let revision = settings.revision.clone();
    let server = Server::bind(settings).await?;
    say(&format!(
        "revision {revision} listens on {}",
        server.address()?
    ));
    match server.serve().await {}
}

/// Says one line on stderr. A closed stderr is no reason to stop serving.
fn say(line: &str) {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "oinker: {line}").ok();
}
