//! Off a terminal: a line for everything that is decided, and for every new thing that is waited for.

use crate::printer;
use crate::runner::{Audience, Scene};
use teal_core::decide::{Decision, WaitingFor};
use teal_core::journal::{Entry, Event};
use teal_core::report;

/// Plain lines on stderr.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    waiting: Option<(WaitingFor, String)>,
}

impl Audience for Lines {
    fn entry(&mut self, entry: &Entry) {
        if let Some(text) = line(&entry.event) {
            printer::talk(format_args!("{} {text}", crate::clock::time(entry.at)));
            self.waiting = None;
        }
    }

    fn scene(&mut self, scene: &Scene<'_>) {
        let Decision::Wait { reason, .. } = scene.decision else {
            return;
        };
        // Numbers that change at every look are not worth a line each.
        let gist: String = reason
            .text
            .chars()
            .filter(|c| !c.is_ascii_digit())
            .collect();
        let told = Some((reason.on, gist));
        if self.waiting != told {
            self.waiting = told;
            let deadline = crate::clock::time(reason.deadline);
            printer::talk(format_args!(
                "{} … {} (until {deadline})",
                crate::clock::time(scene.now),
                reason.text
            ));
        }
    }
}

fn line(event: &Event) -> Option<String> {
    match event {
        Event::Begun { plan } => {
            let from = plan
                .blue
                .as_ref()
                .map_or("nothing yet", |blue| blue.revision.as_str());
            Some(format!(
                "deployment {}: {from} → {}",
                plan.deployment, plan.green.revision
            ))
        }
        Event::Intended { action } => Some(report::sentence(action)),
        Event::Performed { .. } | Event::Seen { .. } => None,
        Event::Failed { reason, retry, .. } => {
            let next = if *retry {
                "tried again"
            } else {
                "not tried again"
            };
            Some(format!("failed: {reason} ({next})"))
        }
        Event::Asked { command, .. } => {
            Some(format!("the operator asks: {}", report::ask(command)))
        }
        Event::Resumed { by } => Some(format!("resumed by {by}")),
        Event::Ended { outcome } => Some(report::ending(outcome)),
    }
}

/// One JSON document a line on stdout: every journal entry as it is written.
#[derive(Debug)]
pub(crate) struct JsonLines;

impl Audience for JsonLines {
    fn entry(&mut self, entry: &Entry) {
        printer::json_line(entry);
    }

    fn scene(&mut self, _: &Scene<'_>) {}
}
