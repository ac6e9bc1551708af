//! A container's output as the daemon sends it: frames, each with its stream and time.
//!
//! Every frame is `[stream, 0, 0, 0, length as big-endian u32]` and that many bytes (Engine API,
//! `ContainerAttach`, "Stream format"). With `timestamps=true` the bytes begin with an RFC 3339 time
//! and a space; each frame is one message of the container, whether a whole line or a part of one.
//!
//! A container with a terminal has one output, which comes without frames: then every line begins
//! with a time. (The daemon cuts lines beyond 16 KiB in parts, and there their times stay in.)

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use jiff::Timestamp;

use super::DockerError;
use super::connection::Docker;

/// The length of a frame's head.
const HEAD_BYTES: usize = 8;

/// The longest frame that is believed. Docker cuts at 16 KiB, Podman at 8 KiB of output.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Which of its outputs a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogStream {
    Stdout,
    Stderr,
}

/// One message of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogFrame {
    pub(crate) stream: LogStream,
    pub(crate) time: Timestamp,
    pub(crate) text: Bytes,
}

/// The output of a container, as it comes.
#[derive(Debug)]
pub(crate) struct Logs {
    body: Incoming,
    decoder: Decoder,
}

impl Docker {
    /// Follows the output of a container from a second on (UNIX time; 0 = from its beginning).
    ///
    /// Frames of that very second come again, whether they have been seen or not.
    pub(crate) async fn logs(&self, id: &str, since: i64) -> Result<Logs, DockerError> {
        let has_tty = self.inspect(id).await?.has_tty();
        let answer = self.open_logs(id, since).await?;
        Ok(Logs {
            body: answer.into_body(),
            decoder: Decoder {
                has_tty,
                ..Decoder::default()
            },
        })
    }
}

impl Logs {
    /// Returns the next frames, at least one, or nothing when the container has ended and all is
    /// said.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<LogFrame>>, DockerError> {
        loop {
            let mut frames = Vec::new();
            while let Some(frame) = self.decoder.next()? {
                frames.push(frame);
            }
            if !frames.is_empty() {
                return Ok(Some(frames));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(DockerError::Garbled(error.to_string())),
                Some(Ok(data)) => self.decoder.take(&data.into_data().unwrap_or_default()),
            }
        }
    }
}

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
struct Decoder {
    bytes: BytesMut,
    has_tty: bool,
}

impl Decoder {
    fn take(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    fn next(&mut self) -> Result<Option<LogFrame>, DockerError> {
        if self.has_tty {
            self.next_line()
        } else {
            self.next_frame()
        }
    }

    fn next_line(&mut self) -> Result<Option<LogFrame>, DockerError> {
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else {
            if self.bytes.len() > FRAME_BYTES_MAX {
                return Err(garbled("a line is too long"));
            }
            return Ok(None);
        };
        let line = self.bytes.split_to(end + 1).freeze();
        message(LogStream::Stdout, line).map(Some)
    }

    fn next_frame(&mut self) -> Result<Option<LogFrame>, DockerError> {
        let Some(head) = self.bytes.first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let [kind, _, _, _, length @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            return Err(garbled("a frame is too long"));
        }
        let stream = match kind {
            1 => LogStream::Stdout,
            2 => LogStream::Stderr,
            _ => return Err(garbled("a frame of no known stream")),
        };
        if self.bytes.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        self.bytes.advance(HEAD_BYTES);
        message(stream, self.bytes.split_to(length).freeze()).map(Some)
    }
}

/// Takes the time off the beginning of a message.
fn message(stream: LogStream, mut text: Bytes) -> Result<LogFrame, DockerError> {
    let untimed = || garbled("a line without a time");
    let space = text.iter().position(|byte| *byte == b' ');
    let time = text.split_to(space.ok_or_else(untimed)?);
    text.advance(1);
    let time = std::str::from_utf8(&time).ok();
    let time = time.and_then(|time| time.parse().ok());
    Ok(LogFrame {
        stream,
        time: time.ok_or_else(untimed)?,
        text,
    })
}

fn garbled(what: &str) -> DockerError {
    DockerError::Garbled(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(kind: u8, text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).expect("a short text");
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn frames_are_cut_out_wherever_the_chunks_end() {
        let bytes = [
            framed(1, "2026-11-23T03:00:00.000000001Z one\n"),
            framed(2, "2026-11-23T04:00:00+01:00 two words"),
        ]
        .concat();
        for size in 1..bytes.len() {
            let (mut decoder, mut seen) = (Decoder::default(), Vec::new());

            for chunk in bytes.chunks(size) {
                decoder.take(chunk);
                while let Some(frame) = decoder.next().expect("frames") {
                    seen.push(frame);
                }
            }

            let second = "2026-11-23T03:00:00Z".parse().expect("a time");
            assert_eq!(seen.len(), 2);
            assert_eq!(seen[0].text, "one\n");
            assert_eq!(seen[0].time.subsec_nanosecond(), 1);
            assert_eq!(
                seen[1],
                LogFrame {
                    stream: LogStream::Stderr,
                    time: second,
                    text: Bytes::from_static(b"two words"),
                }
            );
        }
    }

    #[test]
    fn the_output_of_a_terminal_comes_in_lines() {
        let mut decoder = Decoder {
            has_tty: true,
            ..Decoder::default()
        };

        decoder.take(b"2026-11-23T03:00:00Z one\r\n2026-11-23T03:00:01Z t");
        let first = decoder.next().expect("a line").expect("it is whole");
        let half = decoder.next().expect("no mistake");

        assert_eq!(first.text, "one\r\n");
        assert_eq!(half, None);
    }

    #[test]
    fn what_is_no_frame_is_an_error_and_never_waited_for() {
        for bytes in [
            framed(7, "2026-11-23T03:00:00Z a"),
            framed(1, "no time"),
            vec![1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        ] {
            let mut decoder = Decoder::default();
            decoder.take(&bytes);

            assert!(decoder.next().is_err());
        }
    }
}
