//! Images: whether one is there, and getting it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::DockerError;
use super::connection::{CALL_LIMIT, Docker, within};
use super::containers::encoded;

/// How long a pull may go on without a word of progress.
const PULL_SILENCE_LIMIT: Duration = Duration::from_secs(120);

/// The longest line of a pull's progress.
const PROGRESS_LINE_BYTES_MAX: usize = 1024 * 1024;

/// One line of a pull's progress.
#[derive(Debug, Deserialize)]
struct Progress {
    error: Option<String>,
}

impl Docker {
    /// Returns whether the daemon has an image.
    pub(crate) async fn has_image(&self, image: &str) -> Result<bool, DockerError> {
        let path = format!("/images/{}/json", encoded(image));
        let answer: Result<Value, DockerError> = self
            .json(Method::GET, &path, None, "describe the image")
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(DockerError::Missing(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gets an image from its registry. Takes as long as there is progress; dropping the call ends
    /// the pull.
    ///
    /// # Errors
    /// Also what the registry said, which comes in the middle of a successful answer.
    pub(crate) async fn pull(&self, image: &str) -> Result<(), DockerError> {
        let path = match tag_of(image) {
            (name, Some(tag)) => format!(
                "/images/create?fromImage={}&tag={}",
                encoded(name),
                encoded(tag)
            ),
            (name, None) => format!("/images/create?fromImage={}", encoded(name)),
        };
        let what = "begin to pull the image";
        let answer = self.open(Method::POST, &path, None);
        let mut body = within(CALL_LIMIT.max(PULL_SILENCE_LIMIT), what, answer)
            .await?
            .into_body();
        let mut lines = Lines::default();
        loop {
            let frame = timeout(PULL_SILENCE_LIMIT, body.frame()).await;
            let frame = frame.map_err(|_| DockerError::TimedOut {
                what: "make progress with pulling the image",
                limit: PULL_SILENCE_LIMIT,
            })?;
            match frame {
                None => return lines.finish(),
                Some(Err(error)) => return Err(DockerError::Garbled(error.to_string())),
                Some(Ok(frame)) => lines.take(frame.into_data().unwrap_or_default())?,
            }
        }
    }
}

/// The progress of a pull: JSON objects, one a line.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take(&mut self, data: Bytes) -> Result<(), DockerError> {
        self.0.extend_from_slice(&data);
        while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            judge(&line)?;
        }
        if self.0.len() > PROGRESS_LINE_BYTES_MAX {
            return Err(DockerError::Garbled("an endless line".to_owned()));
        }
        Ok(())
    }

    fn finish(self) -> Result<(), DockerError> {
        judge(&self.0)
    }
}

fn judge(line: &[u8]) -> Result<(), DockerError> {
    let progress: Option<Progress> = serde_json::from_slice(line).ok();
    match progress.and_then(|progress| progress.error) {
        None => Ok(()),
        Some(message) => Err(DockerError::Missing(message)),
    }
}

/// Splits a reference into what to pull and its tag or digest; without either Docker would pull
/// every tag, so `latest` is meant.
///
/// A `:` after the last `/` begins a tag, one before it a port
/// (<https://pkg.go.dev/github.com/distribution/reference>).
fn tag_of(image: &str) -> (&str, Option<&str>) {
    if image.contains('@') {
        return (image, None);
    }
    let name_begin = image.rfind('/').map_or(0, |at| at + 1);
    match image[name_begin..].rfind(':') {
        Some(at) => {
            let at = name_begin + at;
            (&image[..at], Some(&image[at + 1..]))
        }
        None => (image, Some("latest")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_split_where_its_tag_begins() {
        for (image, split) in [
            (
                "mesosphere/oinker:shakespeare",
                ("mesosphere/oinker", Some("shakespeare")),
            ),
            ("busybox", ("busybox", Some("latest"))),
            ("host:5000/a/b", ("host:5000/a/b", Some("latest"))),
            ("host:5000/a:1", ("host:5000/a", Some("1"))),
            ("a@sha256:0a", ("a@sha256:0a", None)),
            ("a:1@sha256:0a", ("a:1@sha256:0a", None)),
        ] {
            assert_eq!(tag_of(image), split, "{image}");
        }
    }

    #[test]
    fn an_error_in_the_middle_of_a_pull_fails_it_with_the_registrys_words() {
        let mut lines = Lines::default();

        let begin = lines.take(Bytes::from_static(b"{\"status\":\"Pulling\"}\n{\"err"));
        let rest = lines.take(Bytes::from_static(b"or\":\"manifest unknown\"}\n"));

        assert_eq!(begin, Ok(()));
        assert_eq!(
            rest,
            Err(DockerError::Missing("manifest unknown".to_owned()))
        );
    }
}
