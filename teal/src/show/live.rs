//! On a terminal: the picture, redrawn in place. What has been decided scrolls away above it.

use super::scene::picture;
use crate::printer;
use crate::runner::{Audience, Scene};
use teal_core::journal::{Entry, Event};
use teal_core::report;

/// The live view.
#[derive(Debug, Default)]
pub(crate) struct Live {
    drawn: usize,
    last: Vec<String>,
    aside: Option<String>,
}

impl Audience for Live {
    fn entry(&mut self, entry: &Entry) {
        let text = match &entry.event {
            Event::Intended { action } => report::sentence(action),
            Event::Failed { reason, .. } => printer::style::red(format!("failed: {reason}")),
            Event::Asked { command, .. } => format!("the operator asks: {}", report::ask(command)),
            Event::Resumed { by } => format!("resumed by {by}"),
            Event::Begun { .. }
            | Event::Performed { .. }
            | Event::Seen { .. }
            | Event::Ended { .. } => return,
        };
        self.erase();
        let time = printer::style::dim(crate::clock::time(entry.at));
        printer::talk(fit(&format!("{time} {text}"), width()));
        self.draw();
    }

    fn scene(&mut self, scene: &Scene<'_>) {
        let mut lines = picture(scene);
        lines.extend(self.aside.clone());
        if lines == self.last {
            return;
        }
        self.erase();
        self.last = lines;
        self.draw();
    }

    fn aside(&mut self, line: String) {
        self.aside = Some(line);
    }
}

impl Live {
    fn erase(&mut self) {
        if self.drawn > 0 {
            // Up over what was drawn, then clear to the end of the screen (ECMA-48 CUU and ED).
            printer::talk_raw(&format!("\u{1b}[{}A\u{1b}[J", self.drawn));
            self.drawn = 0;
        }
    }

    /// A picture taller than the screen could not be erased again: its end is left out.
    fn draw(&mut self) {
        let (width, height) = (width(), height());
        let mut frame = String::from("\n");
        let shown = self.last.iter().take(height.saturating_sub(3));
        for line in shown.clone() {
            frame.push_str(&fit(line, width));
            frame.push('\n');
        }
        self.drawn = shown.count() + 1;
        printer::talk_raw(&frame);
    }
}

fn width() -> usize {
    terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0))
}

fn height() -> usize {
    terminal_size::terminal_size().map_or(40, |(_, height)| usize::from(height.0))
}

/// Cuts a line to the width of the terminal; escape sequences take no room.
fn fit(line: &str, width: usize) -> String {
    let mut room = width.saturating_sub(1);
    let mut fitted = String::with_capacity(line.len());
    let mut escape = false;
    for c in line.chars() {
        if c == '\u{1b}' {
            escape = true;
        }
        if escape {
            fitted.push(c);
            escape = c != 'm';
        } else if room > 0 {
            fitted.push(c);
            room -= 1;
        }
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn a_line_is_cut_to_the_terminal_and_its_colours_are_still_closed() {
        assert_eq!(
            fit("\u{1b}[31mabcdef\u{1b}[0m", 4),
            "\u{1b}[31mabc\u{1b}[0m"
        );
        assert_eq!(fit("abc", 80), "abc");
    }
}
