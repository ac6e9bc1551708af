//! Answer heads: from an endpoint's to the one the client gets.

use super::{Field, Fields, Framing, decimal, room};
use crate::answer::Fault;
use crate::body::{Body, Form};

/// What the request means for reading its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The method was HEAD.
    pub(crate) head: bool,
    /// The client speaks HTTP/1.0.
    pub(crate) old: bool,
    /// The request passed on an `Upgrade`.
    pub(crate) upgrade: bool,
    /// The client connection shall stay open, as far as the balancer and the client go.
    pub(crate) keep_alive: bool,
}

/// What forwarding must know about an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Response {
    /// 1xx but 101: another answer follows. For a client of HTTP/1.0, nothing was written.
    Interim,
    /// 101: the connection speaks another protocol from here on.
    Switched,
    /// The last answer to the request.
    Final {
        /// How the body ends.
        body: Body,
        /// How the body is passed on.
        form: Form,
        /// The endpoint leaves its connection open.
        upstream_keep_alive: bool,
        /// The client connection stays open after this answer.
        keep_alive: bool,
    },
}

/// Reads the whole head at `head` and appends the one for the client to `out`.
///
/// # Errors
///
/// [`Fault::BadAnswer`] if it is malformed, if its framing can be read in two ways (RFC 9112
/// section 6.3), or if it changes the protocol without having been asked.
pub(crate) fn read_response(
    head: &[u8],
    asked: Asked,
    out: &mut Vec<u8>,
) -> Result<Response, Fault> {
    let mut room = room();
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, &mut room) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) | Err(_) => return Err(Fault::BadAnswer),
    }
    let (Some(code), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(Fault::BadAnswer);
    };
    let reason = parsed.reason.unwrap_or_default();
    let mut fields = Fields::new(head, parsed.headers);
    match code {
        101 => switched(&mut fields, asked, reason, out),
        100..=199 => {
            if !asked.old {
                fields.connection();
                status_line(out, code, reason);
                fields.copy(out, passes);
                out.extend_from_slice(b"\r\n");
            }
            Ok(Response::Interim)
        }
        200..=999 => last(&mut fields, asked, (code, minor, reason), out),
        _ => Err(Fault::BadAnswer),
    }
}

fn switched(
    fields: &mut Fields<'_>,
    asked: Asked,
    reason: &str,
    out: &mut Vec<u8>,
) -> Result<Response, Fault> {
    fields.connection();
    let Some(protocol) = fields.all(Field::Upgrade).next() else {
        return Err(Fault::BadAnswer);
    };
    if !asked.upgrade {
        return Err(Fault::BadAnswer);
    }
    status_line(out, 101, reason);
    fields.copy(out, passes);
    out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: ");
    out.extend_from_slice(protocol);
    out.extend_from_slice(b"\r\n\r\n");
    Ok(Response::Switched)
}

fn last(
    fields: &mut Fields<'_>,
    asked: Asked,
    (code, minor, reason): (u16, u8, &str),
    out: &mut Vec<u8>,
) -> Result<Response, Fault> {
    let framing = fields.framing().map_err(|_| Fault::BadAnswer)?;
    if framing.chunked && minor == 0 {
        return Err(Fault::BadAnswer);
    }
    let wishes = fields.connection();
    let (body, form) = body_of(code, framing, asked);
    // What a 204 announces as its body may come all the same: its connection is not used again.
    let stray = code == 204 && (framing.chunked || framing.length.is_some_and(|length| length > 0));
    let until_close = body == Body::UntilClose;
    // Without a length, a client of HTTP/1.0 knows the end by the connection's.
    let unmarked = asked.old && (until_close || form == Form::Decoded);
    let keep_alive = asked.keep_alive && !unmarked;

    status_line(out, code, reason);
    let bodiless = code == 204;
    fields.copy(out, passes);
    if let Some(length) = framing.length.filter(|_| !bodiless) {
        out.extend_from_slice(b"Content-Length: ");
        decimal(out, length);
        out.extend_from_slice(b"\r\n");
    }
    let has_body = !body.is_done();
    if has_body && matches!(body, Body::Chunked(_) | Body::UntilClose) && !asked.old {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if asked.old {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");

    let upstream_keep_alive = minor == 1 && !wishes.close && !until_close && !stray;
    Ok(Response::Final {
        body,
        form,
        upstream_keep_alive,
        keep_alive,
    })
}

/// RFC 9112 section 6.3.
fn body_of(code: u16, framing: Framing, asked: Asked) -> (Body, Form) {
    if asked.head || code == 204 || code == 304 {
        return (Body::EMPTY, Form::Verbatim);
    }
    if framing.chunked {
        let form = if asked.old {
            Form::Decoded
        } else {
            Form::Verbatim
        };
        return (Body::chunked(), form);
    }
    match framing.length {
        Some(length) => (Body::Length(length), Form::Verbatim),
        // As chunks, so that a client can tell an end from a break, and keep its connection.
        None if asked.old => (Body::UntilClose, Form::Verbatim),
        None => (Body::UntilClose, Form::Encoded),
    }
}

fn passes(field: Field) -> bool {
    match field {
        Field::Other
        | Field::Host
        | Field::Te
        | Field::Expect
        | Field::ForwardedFor
        | Field::ForwardedProto
        | Field::ForwardedHost => true,
        Field::Hop
        | Field::Connection
        | Field::ContentLength
        | Field::TransferEncoding
        | Field::Upgrade => false,
    }
}

fn status_line(out: &mut Vec<u8>, code: u16, reason: &str) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(code));
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}
