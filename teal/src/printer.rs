//! The only place that prints: data to stdout, talk to stderr. A reader that has gone away ends nothing but the printing.

use anstream::stream::IsTerminal;
use std::io::Write;

/// What a command's data looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON document, or one a line where things happen over time.
    Json,
}

/// Prints a line of data.
pub(crate) fn data(line: impl std::fmt::Display) {
    drop(writeln!(anstream::stdout().lock(), "{line}"));
}

/// Prints data without an end of line.
pub(crate) fn raw(text: &str) {
    let mut out = anstream::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Prints a JSON document, indented.
pub(crate) fn json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => data(text),
        Err(error) => talk(format_args!("error: cannot print as JSON: {error}")),
    }
}

/// Prints one JSON document on one line.
pub(crate) fn json_line(value: &impl serde::Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => data(text),
        Err(error) => talk(format_args!("error: cannot print as JSON: {error}")),
    }
}

/// Prints a line of talk.
pub(crate) fn talk(line: impl std::fmt::Display) {
    drop(writeln!(anstream::stderr().lock(), "{line}"));
}

/// Prints talk as it is.
pub(crate) fn talk_raw(text: &str) {
    let mut out = anstream::stderr().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Tells whether talk is read on a terminal that can be redrawn.
pub(crate) fn is_live() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stderr().is_terminal() && !dumb
}

/// Prints rows as a table with aligned columns; the first row is the heading.
pub(crate) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell: &String| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        data(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// The few colours there are; `NO_COLOR` and pipes take them away.
pub(crate) mod style {
    use std::fmt::Display;

    fn paint(code: &str, text: impl Display) -> String {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    pub(crate) fn bold(text: impl Display) -> String {
        paint("1", text)
    }
    pub(crate) fn dim(text: impl Display) -> String {
        paint("2", text)
    }
    pub(crate) fn red(text: impl Display) -> String {
        paint("31", text)
    }
    pub(crate) fn green(text: impl Display) -> String {
        paint("32", text)
    }
    pub(crate) fn yellow(text: impl Display) -> String {
        paint("33", text)
    }
    pub(crate) fn blue(text: impl Display) -> String {
        paint("34", text)
    }
}
