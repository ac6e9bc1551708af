//! Message heads: finding their end, judging them, and writing the head that is passed on.
//!
//! A head is refused when two programs could read it in two ways: that is what request smuggling
//! is made of (RFC 9112 section 11.2). What is passed on is copied in runs of bytes, fields that
//! concern one connection only are left out (RFC 9110 section 7.6.1), and the framing fields are
//! written anew.

use std::mem::MaybeUninit;

use crate::answer::Fault;
use crate::limits;

mod request;
mod response;

pub(crate) use request::{Origin, Request, read_request};
pub(crate) use response::{Asked, Response, read_response};

/// How far a buffer has been searched for the end of a head.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Search {
    line_start: usize,
    seen: usize,
}

impl Search {
    /// Returns the length of the head at the front of `buffer`, `None` if its end is not there yet.
    ///
    /// # Errors
    ///
    /// [`Fault::BadRequest`] for a line that ends in LF alone or continues the one before
    /// (obs-fold), [`Fault::HeadTooLarge`].
    pub(crate) fn find_end(&mut self, buffer: &[u8]) -> Result<Option<usize>, Fault> {
        while let Some(offset) = buffer[self.seen..].iter().position(|byte| *byte == b'\n') {
            let line_end = self.seen + offset;
            let Some((b'\r', line)) = buffer[self.line_start..line_end].split_last() else {
                return Err(Fault::BadRequest(
                    "a line of the head does not end in CR LF",
                ));
            };
            if matches!(line.first(), Some(b' ' | b'\t')) {
                return Err(Fault::BadRequest(
                    "a line of the head begins with white space",
                ));
            }
            self.line_start = line_end + 1;
            self.seen = line_end + 1;
            if line.is_empty() {
                if self.seen > limits::HEAD_BYTES_MAX {
                    return Err(Fault::HeadTooLarge);
                }
                return Ok(Some(self.seen));
            }
        }
        self.seen = buffer.len();
        if self.seen > limits::HEAD_BYTES_MAX {
            return Err(Fault::HeadTooLarge);
        }
        Ok(None)
    }
}

/// The fields that mean something to a balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// Any other: passed on as it is.
    Other,
    /// Any other that concerns this connection only: never passed on.
    Hop,
    Connection,
    ContentLength,
    TransferEncoding,
    Host,
    Upgrade,
    Te,
    Expect,
    ForwardedFor,
    ForwardedProto,
    ForwardedHost,
}

impl Field {
    fn of(name: &str) -> Self {
        const KNOWN: [(&str, Field); 15] = [
            ("host", Field::Host),
            ("connection", Field::Connection),
            ("content-length", Field::ContentLength),
            ("transfer-encoding", Field::TransferEncoding),
            ("upgrade", Field::Upgrade),
            ("te", Field::Te),
            ("expect", Field::Expect),
            ("keep-alive", Field::Hop),
            ("trailer", Field::Hop),
            // CGI programs read it as the variable HTTP_PROXY: https://httpoxy.org/
            ("proxy", Field::Hop),
            // Goes with an upgrade to h2c, which is not offered: RFC 9113 section 3.1.
            ("http2-settings", Field::Hop),
            ("x-forwarded-for", Field::ForwardedFor),
            ("x-forwarded-proto", Field::ForwardedProto),
            ("x-forwarded-host", Field::ForwardedHost),
            ("proxy-connection", Field::Hop),
        ];
        let prefix = name.as_bytes().get(..6);
        if prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"proxy-")) {
            return Self::Hop;
        }
        let known = KNOWN
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map_or(Self::Other, |(_, field)| *field)
    }
}

/// Room for the fields of one head.
type Room<'h> = [MaybeUninit<httparse::Header<'h>>; limits::HEADERS_MAX];

const fn room<'h>() -> Room<'h> {
    [const { MaybeUninit::uninit() }; limits::HEADERS_MAX]
}

/// The fields of a head, each with its meaning.
struct Fields<'h> {
    head: &'h [u8],
    headers: &'h [httparse::Header<'h>],
    meaning: [Field; limits::HEADERS_MAX],
}

/// What the `Connection` fields say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Wishes {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

/// The two framing fields, as they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

impl<'h> Fields<'h> {
    fn new(head: &'h [u8], headers: &'h [httparse::Header<'h>]) -> Self {
        let mut meaning = [Field::Other; limits::HEADERS_MAX];
        for (meaning, header) in meaning.iter_mut().zip(headers) {
            *meaning = Field::of(header.name);
        }
        Self {
            head,
            headers,
            meaning,
        }
    }

    fn all(&self, field: Field) -> impl Iterator<Item = &'h [u8]> {
        let headers = self.headers.iter().zip(&self.meaning);
        headers
            .filter(move |(_, meaning)| **meaning == field)
            .map(|(header, _)| header.value)
    }

    /// Reads `Connection`, and marks the fields that it names as concerning this connection only.
    ///
    /// Fields that routing, framing or forwarding rest on cannot be named away.
    fn connection(&mut self) -> Wishes {
        let mut wishes = Wishes::default();
        if !self.meaning[..self.headers.len()].contains(&Field::Connection) {
            return wishes;
        }
        for index in 0..self.headers.len() {
            if self.meaning[index] != Field::Connection {
                continue;
            }
            for token in tokens(self.headers[index].value) {
                if token.eq_ignore_ascii_case(b"close") {
                    wishes.close = true;
                } else if token.eq_ignore_ascii_case(b"keep-alive") {
                    wishes.keep_alive = true;
                } else if token.eq_ignore_ascii_case(b"upgrade") {
                    wishes.upgrade = true;
                } else {
                    self.drop_named(token);
                }
            }
        }
        wishes
    }

    fn drop_named(&mut self, name: &[u8]) {
        for (meaning, header) in self.meaning.iter_mut().zip(self.headers) {
            if *meaning == Field::Other && header.name.as_bytes().eq_ignore_ascii_case(name) {
                *meaning = Field::Hop;
            }
        }
    }

    /// Reads the framing fields; the error is a sentence.
    fn framing(&self) -> Result<Framing, &'static str> {
        let mut length = None;
        for value in self.all(Field::ContentLength) {
            let next = digits(value).ok_or("Content-Length is not a number")?;
            if length.is_some_and(|length| length != next) {
                return Err("there are several Content-Length fields that differ");
            }
            length = Some(next);
        }
        let mut codings = self.all(Field::TransferEncoding);
        let chunked = match (codings.next(), codings.next()) {
            (None, _) => false,
            (Some(only), None) if only.eq_ignore_ascii_case(b"chunked") => true,
            (Some(_), Some(_)) => return Err("there are several Transfer-Encoding fields"),
            (Some(only), None) => {
                let last = tokens(only).last().unwrap_or_default();
                return Err(if last.eq_ignore_ascii_case(b"chunked") {
                    UNSUPPORTED_CODING
                } else {
                    "the last transfer coding is not chunked"
                });
            }
        };
        if chunked && length.is_some() {
            return Err("Content-Length and Transfer-Encoding exclude each other");
        }
        Ok(Framing { length, chunked })
    }

    /// Appends the lines of the fields that `keep` accepts, in runs as long as possible.
    fn copy(&self, out: &mut Vec<u8>, keep: impl Fn(Field) -> bool) {
        let base = self.head.as_ptr() as usize;
        let start = |index: usize| match self.headers.get(index) {
            Some(header) => header.name.as_ptr() as usize - base,
            // Behind the last field stands the empty line.
            None => self.head.len() - 2,
        };
        let mut run = None;
        for index in 0..self.headers.len() {
            match (keep(self.meaning[index]), run) {
                (true, None) => run = Some(index),
                (false, Some(first)) => {
                    out.extend_from_slice(&self.head[start(first)..start(index)]);
                    run = None;
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
        if let Some(first) = run {
            out.extend_from_slice(&self.head[start(first)..start(self.headers.len())]);
        }
    }
}

const UNSUPPORTED_CODING: &str = "chunked is the only transfer coding that is supported";

/// Splits a comma-separated list, without empty elements (RFC 9110 section 5.6.1).
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// Reads `1*DIGIT`, and nothing more lenient: no sign, no list, no space.
fn digits(value: &[u8]) -> Option<u64> {
    // Eighteen digits cannot overflow, neither here nor in a backend that reads a signed number.
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        value
            .iter()
            .fold(0, |number, digit| number * 10 + u64::from(digit - b'0')),
    )
}

/// Appends a number. Formatting would do it with an allocation, for every answer.
fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len() - 1;
    digits[first] += (number % 10) as u8;
    while number >= 10 {
        number /= 10;
        first -= 1;
        digits[first] += (number % 10) as u8;
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests;
