//! Request heads: from a client's to the one an endpoint gets.

use httparse::Error as ParseError;

use super::{Field, Fields, UNSUPPORTED_CODING, Wishes, room, tokens};
use crate::answer::Fault;
use crate::body::Body;

/// Who sent a request, and where to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'o> {
    /// The client's address, without port.
    pub(crate) peer: &'o str,
    /// The address it connected to, for a client of HTTP/1.0 that names no host.
    pub(crate) authority: &'o str,
}

/// What forwarding must know about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// What follows the head.
    pub(crate) body: Body,
    /// The method is HEAD: the answer has no body.
    pub(crate) head: bool,
    /// Sending it twice does what sending it once does (RFC 9110 section 9.2.2), and there is no
    /// body that would have to be kept.
    pub(crate) repeatable: bool,
    /// The client speaks HTTP/1.0.
    pub(crate) old: bool,
    /// The client wants to send further requests on this connection.
    pub(crate) keep_alive: bool,
    /// The client asks to change the protocol.
    pub(crate) upgrade: bool,
}

/// Reads the whole head at `head` and appends the one to be sent on to `out`.
///
/// # Errors
///
/// The fault to answer with; the connection is to be closed then.
pub(crate) fn read_request(
    head: &[u8],
    origin: Origin<'_>,
    out: &mut Vec<u8>,
) -> Result<Request, Fault> {
    let mut room = room();
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut room) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Fault::BadRequest("the request head is malformed")),
        Err(error) => return Err(parse_fault(head, error)),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(Fault::BadRequest("the request line is incomplete"));
    };
    if method == "CONNECT" {
        return Err(Fault::Unsupported("CONNECT is not supported"));
    }
    let mut fields = Fields::new(head, parsed.headers);
    let old = minor == 0;
    let host = host(&fields, old)?;
    let target = origin_form(method, target, host)?;
    let body = body(&fields, old)?;
    let wishes = fields.connection();
    let upgrade = if old {
        None
    } else {
        upgrade(&fields, wishes, &body)
    };

    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_fields(&fields, host, old, origin, out);
    match &body {
        Body::Chunked(_) => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Body::Length(_) | Body::UntilClose => {
            if let Some(length) = fields.all(Field::ContentLength).next() {
                line(out, "Content-Length", length);
            }
        }
    }
    if let Some(protocol) = upgrade {
        out.extend_from_slice(b"Connection: Upgrade\r\n");
        line(out, "Upgrade", protocol);
    }
    out.extend_from_slice(b"\r\n");

    let idempotent = matches!(
        method,
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"
    );
    Ok(Request {
        head: method == "HEAD",
        repeatable: idempotent && body.is_done(),
        body,
        old,
        keep_alive: !wishes.close && (!old || wishes.keep_alive),
        upgrade: upgrade.is_some(),
    })
}

fn parse_fault(head: &[u8], error: ParseError) -> Fault {
    match error {
        ParseError::TooManyHeaders => Fault::HeadTooLarge,
        ParseError::HeaderName => Fault::BadRequest("a field name is malformed"),
        ParseError::HeaderValue => Fault::BadRequest("a field value holds a control character"),
        ParseError::Version if names_a_version(head) => Fault::Version,
        ParseError::Version | ParseError::Token | ParseError::NewLine | ParseError::Status => {
            Fault::BadRequest("the request line is malformed")
        }
    }
}

/// Returns whether the request line ends like `HTTP/2.0`.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// Returns the one host that is asked for, as RFC 9112 section 3.2 demands.
fn host<'h>(fields: &Fields<'h>, old: bool) -> Result<Option<&'h [u8]>, Fault> {
    let mut hosts = fields.all(Field::Host);
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Fault::BadRequest("there are several Host fields"));
    }
    if host.is_none() && !old {
        return Err(Fault::BadRequest("there is no Host field"));
    }
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte);
    if host.is_some_and(|host| !host.iter().all(allowed)) {
        return Err(Fault::BadRequest("the Host field is malformed"));
    }
    Ok(host)
}

/// Returns the target without scheme and authority, which must then be those of `Host`.
fn origin_form<'t>(method: &str, target: &'t str, host: Option<&[u8]>) -> Result<&'t [u8], Fault> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(target.as_bytes());
    }
    let scheme = target.as_bytes().get(..7).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"http://") {
        return Err(Fault::BadRequest("the request target is malformed"));
    }
    let rest = &target.as_bytes()[7..];
    let split = rest
        .iter()
        .position(|byte| b"/?#".contains(byte))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(split);
    if !host.is_some_and(|host| host.eq_ignore_ascii_case(authority)) {
        return Err(Fault::BadRequest(
            "the request target and Host name different hosts",
        ));
    }
    match path.first() {
        Some(b'/') => Ok(path),
        None => Ok(b"/"),
        Some(_) => Err(Fault::BadRequest("the request target is malformed")),
    }
}

fn body(fields: &Fields<'_>, old: bool) -> Result<Body, Fault> {
    let framing = match fields.framing() {
        Ok(framing) => framing,
        Err(UNSUPPORTED_CODING) if !old => return Err(Fault::Unsupported(UNSUPPORTED_CODING)),
        Err(message) => return Err(Fault::BadRequest(message)),
    };
    if framing.chunked && old {
        return Err(Fault::BadRequest("HTTP/1.0 has no Transfer-Encoding"));
    }
    Ok(if framing.chunked {
        Body::chunked()
    } else {
        Body::Length(framing.length.unwrap_or(0))
    })
}

/// Returns the protocol to change to, if that is asked for and possible.
///
/// A request with a body does not get it: who reads which bytes would depend on the answer.
/// Nor does h2c, which RFC 9113 section 3.1 has removed.
fn upgrade<'h>(fields: &Fields<'h>, wishes: Wishes, body: &Body) -> Option<&'h [u8]> {
    let mut protocols = fields.all(Field::Upgrade);
    let (Some(protocol), None) = (protocols.next(), protocols.next()) else {
        return None;
    };
    let h2c = tokens(protocol).any(|name| name.eq_ignore_ascii_case(b"h2c"));
    (wishes.upgrade && body.is_done() && !h2c).then_some(protocol)
}

fn write_fields(
    fields: &Fields<'_>,
    host: Option<&[u8]>,
    old: bool,
    origin: Origin<'_>,
    out: &mut Vec<u8>,
) {
    // A server must not answer 100 to HTTP/1.0: RFC 9110 section 10.1.1.
    fields.copy(out, |field| match field {
        Field::Other | Field::Host => true,
        Field::Expect => !old,
        Field::Hop
        | Field::Connection
        | Field::ContentLength
        | Field::TransferEncoding
        | Field::Upgrade
        | Field::Te
        | Field::ForwardedFor
        | Field::ForwardedProto
        | Field::ForwardedHost => false,
    });
    if fields
        .all(Field::Te)
        .flat_map(tokens)
        .any(|te| te.eq_ignore_ascii_case(b"trailers"))
    {
        out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
    }
    let host = host.unwrap_or(origin.authority.as_bytes());
    if fields.all(Field::Host).next().is_none() {
        line(out, "Host", host);
    }
    out.extend_from_slice(b"X-Forwarded-For: ");
    for earlier in fields
        .all(Field::ForwardedFor)
        .filter(|value| !value.is_empty())
    {
        out.extend_from_slice(earlier);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(origin.peer.as_bytes());
    out.extend_from_slice(b"\r\nX-Forwarded-Proto: http\r\n");
    line(out, "X-Forwarded-Host", host);
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
