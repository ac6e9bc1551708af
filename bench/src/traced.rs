//! What does not depend on the neighbours: system calls and user instructions per request.
//!
//! A peer is run twice from its start, once with few requests and once with more. What the second run has more, divided
//! by the requests that it had more, is the cost of a request; starting and ending cancel out.

use std::fs::read_to_string;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::Places;
use crate::load::{self, Load};
use crate::peers::{Peer, Place};
use crate::process::to_f64;

/// The program that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// User instructions.
    Callgrind,
    /// System calls.
    Strace,
}

impl Tool {
    /// The program's name.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Callgrind => "valgrind",
            Self::Strace => "strace",
        }
    }

    /// How many requests the shorter and the longer run have: both are slow, callgrind about fiftyfold.
    const fn requests(self) -> [u64; 2] {
        match self {
            Self::Callgrind => [1_000, 5_000],
            Self::Strace => [2_000, 12_000],
        }
    }

    fn wrapper(self, folder: &Path) -> Vec<String> {
        let folder = folder.display();
        match self {
            Self::Callgrind => vec![
                "valgrind".to_owned(),
                "--tool=callgrind".to_owned(),
                format!("--callgrind-out-file={folder}/callgrind.%p"),
            ],
            Self::Strace => vec![
                "strace".to_owned(),
                "-f".to_owned(),
                "-c".to_owned(),
                format!("--output={folder}/strace"),
            ],
        }
    }

    fn total(self, folder: &Path) -> anyhow::Result<u64> {
        match self {
            // One file for each process.
            Self::Callgrind => {
                let mut total = 0;
                for entry in std::fs::read_dir(folder)? {
                    let file = entry?.path();
                    if file.extension().is_some() {
                        total += instructions(&read_to_string(&file)?);
                    }
                }
                Ok(total)
            }
            Self::Strace => Ok(system_calls(&read_to_string(folder.join("strace"))?)),
        }
    }
}

/// Returns what a request of this load costs a peer, as the tool counts.
///
/// # Errors
///
/// If the peer cannot be run under the tool, or did not answer everything.
pub(crate) fn per_request(
    places: &Places,
    peer: &Peer,
    tool: Tool,
    backends: [SocketAddr; 2],
    processor: usize,
    load: Load,
) -> anyhow::Result<f64> {
    let mut totals = [0; 2];
    let lengths = tool.requests();
    for (total, requests) in totals.iter_mut().zip(lengths) {
        let folder = places.scratch(&format!("{}-{}", tool.program(), peer.name))?;
        let place = Place {
            processor: Some(processor),
            wrapper: tool.wrapper(&folder),
        };
        let mut running = peer.start(places, backends, &place)?;
        let served = load::run(running.site.listen, Load { requests, ..load })?;
        running.process.end();
        ensure!(
            served.failed == 0,
            "{} requests failed under {}",
            served.failed,
            tool.program()
        );
        *total = tool
            .total(&folder)
            .with_context(|| folder.display().to_string())?;
        ensure!(*total > 0, "{} counted nothing", tool.program());
    }
    let [short, long] = totals;
    Ok((to_f64(long) - to_f64(short)) / to_f64(lengths[1] - lengths[0]))
}

/// Reads the total of a file of callgrind's: `summary: N` or `totals: N`
/// (<https://valgrind.org/docs/manual/cl-format.html>).
fn instructions(text: &str) -> u64 {
    let totals = text
        .lines()
        .filter_map(|line| line.strip_prefix("totals: "));
    totals
        .filter_map(|rest| rest.trim().parse::<u64>().ok())
        .sum()
}

/// Reads the last line of `strace -c`: shares, seconds, microseconds a call, calls, perhaps errors, `total`.
fn system_calls(text: &str) -> u64 {
    let total = text
        .lines()
        .rfind(|line| line.trim_end().ends_with(" total"));
    let cells: Vec<&str> = total.unwrap_or_default().split_whitespace().collect();
    cells
        .get(3)
        .and_then(|calls| calls.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_strace_is_its_calls_not_its_errors() {
        let text = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 50.00    0.100000           5     20000        12 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.200000           5     40123        15 total
";

        assert_eq!(system_calls(text), 40_123);
    }

    #[test]
    fn the_total_of_callgrind_is_in_its_last_line() {
        let text = "version: 1\nevents: Ir\nsummary: 5\nfn=(1) main\n16 400\ntotals: 1234567\n";

        assert_eq!(instructions(text), 1_234_567);
    }
}
