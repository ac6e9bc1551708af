//! `/files`: the sandboxes of tasks, in the shape of a Mesos agent's endpoints (`src/files/files.cpp`).
//!
//! On a cluster the agents answer these and not Marathon; here both are one. A path is `/<task id>/<file>`.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use hyper::Method;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use serde_json::{Value, json};

use super::Api;
use super::message::{Answer, Call};
use crate::refusal::Refusal;

/// The most that one read returns: Mesos gives 16 pages.
const READ_BYTES_MAX: u64 = 64 * 1024;

/// Answers everything below `/files`. It reads from the disk, a little at a time.
pub(super) fn route(api: &Api, call: &Call, rest: &[&str]) -> Result<Answer, Refusal> {
    if call.method != Method::GET {
        return Err(Refusal::MethodNotAllowed("GET"));
    }
    // Mesos 1.0 and later know each by two names.
    match rest {
        ["browse" | "browse.json"] => browse(api, call),
        ["read" | "read.json"] => read(api, call),
        _ => Err(Refusal::RouteUnknown),
    }
}

fn browse(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    let (asked, folder) = open(api, call, OFlag::O_DIRECTORY)?;
    let listed = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let mut files = Vec::new();
    for entry in fs::read_dir(listed).map_err(|error| unreadable(&asked, &error))? {
        // What vanishes meanwhile is not there.
        let Some((entry, about)) = entry
            .ok()
            .and_then(|one| one.metadata().ok().map(|m| (one, m)))
        else {
            continue;
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push(json!({
            "gid": about.gid().to_string(),
            "mode": mode(&about),
            "mtime": about.mtime(),
            "nlink": about.nlink(),
            "path": format!("{}/{name}", asked.trim_end_matches('/')),
            "size": about.len(),
            "uid": about.uid().to_string(),
        }));
    }
    files.sort_by_key(|file| file["path"].to_string());
    Ok(Answer::ok(&Value::Array(files)))
}

fn read(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    let (asked, mut file) = open(api, call, OFlag::empty())?;
    let number = |key: &str| match call.query.first(key) {
        None => Ok(None),
        Some(text) => text.parse::<i64>().map(Some).map_err(|_| {
            Refusal::BadRequest(format!(
                "Failed to parse {key}: '{text}' is no whole number"
            ))
        }),
    };
    let (offset, length) = (number("offset")?, number("length")?);
    let mut read = || -> io::Result<Value> {
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let Some(offset) = offset.and_then(|offset| u64::try_from(offset).ok()) else {
            // Without an offset, or with -1, the question is how long the file is.
            return Ok(json!({ "data": "", "offset": about.len() }));
        };
        let length = length.and_then(|length| u64::try_from(length).ok());
        let limit = length.unwrap_or(READ_BYTES_MAX).min(READ_BYTES_MAX);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(offset))?;
        (&mut file).take(limit).read_to_end(&mut bytes)?;
        let text = text_of_same_length(&bytes, limit);
        Ok(json!({ "data": text, "offset": offset }))
    };
    let body = read().map_err(|error| unreadable(&asked, &error))?;
    Ok(Answer::ok(&body))
}

/// Opens what is asked for, if that is inside a sandbox, and returns it with its path as it was asked for.
///
/// A task may put anything there, links that lead elsewhere and pipes that nobody writes to among them, and may swap it
/// at any moment: so the kernel resolves the path (openat2(2), `RESOLVE_BENEATH`) and does not wait.
fn open(api: &Api, call: &Call, kind: OFlag) -> Result<(String, File), Refusal> {
    let asked = call.query.first("path");
    let asked =
        asked.ok_or_else(|| Refusal::BadRequest("Expecting 'path=value' in query.".to_owned()))?;
    let path = asked.trim_matches('/');
    let opened = || -> io::Result<File> {
        let sandboxes = File::open(api.shell.sandboxes())?;
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | kind)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        Ok(openat2(sandboxes, path, how)?.into())
    };
    match opened() {
        Ok(file) => Ok((asked.to_owned(), file)),
        Err(error) => Err(unreadable(asked, &error)),
    }
}

fn unreadable(asked: &str, error: &io::Error) -> Refusal {
    // A path that leads out of the sandboxes is one that does not exist.
    let missing = [
        io::ErrorKind::NotFound,
        io::ErrorKind::NotADirectory,
        io::ErrorKind::CrossesDevices,
    ];
    let is_loop = error.raw_os_error() == Some(Errno::ELOOP as i32);
    if is_loop || missing.contains(&error.kind()) {
        Refusal::FileUnknown(asked.to_owned())
    } else {
        Refusal::BadRequest(format!("'{asked}' cannot be read: {error}"))
    }
}

/// Returns bytes as text in which every offset is where it was: a client goes on reading at `offset` plus what it got.
///
/// A character whose end is not there yet is left for the next read, unless the limit of this one was too small for
/// any; a byte that is no UTF-8 becomes a question mark.
fn text_of_same_length(bytes: &[u8], limit: u64) -> String {
    const CHARACTER_BYTES_MAX: u64 = 4;
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                return text;
            }
            Err(error) => {
                let (valid, after) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                match error.error_len() {
                    None if limit >= CHARACTER_BYTES_MAX => return text,
                    None => {
                        text.extend(std::iter::repeat_n('?', after.len()));
                        return text;
                    }
                    Some(length) => {
                        text.extend(std::iter::repeat_n('?', length));
                        rest = &after[length..];
                    }
                }
            }
        }
    }
}

/// Returns a mode as `ls -l` shows it.
fn mode(about: &fs::Metadata) -> String {
    let kind = if about.is_dir() {
        'd'
    } else if about.is_symlink() {
        'l'
    } else {
        '-'
    };
    let bits = (0..9).rev().map(|bit| {
        let letter = ['x', 'w', 'r'][bit % 3];
        if about.mode() >> bit & 1 == 1 {
            letter
        } else {
            '-'
        }
    });
    std::iter::once(kind).chain(bits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_as_many_bytes_as_were_read_so_that_offsets_hold() {
        assert_eq!(text_of_same_length("Grüße\n".as_bytes(), 100), "Grüße\n");
        assert_eq!(text_of_same_length(b"a\xffb\xfe\xfdc", 100), "a?b??c");
        assert_eq!(text_of_same_length(b"", 100), "");
    }

    #[test]
    fn half_a_character_waits_for_its_other_half() {
        let bytes = "ab€".as_bytes();

        assert_eq!(text_of_same_length(&bytes[..4], 100), "ab");
        assert_eq!(text_of_same_length(&bytes[2..4], 100), "");
        assert_eq!(text_of_same_length(&bytes[2..4], 2), "??");
    }
}
