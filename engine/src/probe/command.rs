//! A command whose exit status is the answer.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use super::Answer;
use crate::run::kill_group;

/// Ends a probe's process group when the probe is over, whether it was answered, took too long, or
/// was given up because its task is gone.
struct GroupEnd(Option<u32>);

impl Drop for GroupEnd {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            kill_group(group);
        }
    }
}

/// Runs a command to its end.
pub(super) async fn ask(
    words: &[String],
    environment: &BTreeMap<String, String>,
    folder: PathBuf,
) -> io::Result<Answer> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let _end = GroupEnd(child.id());
    let status = child.wait().await?;
    Ok(Answer::Ended {
        code: status.code(),
        text: status.to_string(),
    })
}
