//! Moving bytes between sockets without a buffer per connection.
//!
//! Bodies are read into one buffer per thread and written on at once; only what the other side
//! does not take is kept. So ten thousand silent streams cost ten thousand sockets and no
//! buffers. Nothing here knows HTTP beyond asking a [`Body`] which bytes belong to it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;

use crate::body::{Body, BodyError, Form};
use crate::limits;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; limits::SCRATCH_BYTES]);
}

/// What one step of passing on did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something was read, or what was due was written.
    Moved,
    /// The reading side has ended, and all that came before is written.
    Ended,
}

/// Why passing on failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepError {
    /// The side that is read from broke.
    Read,
    /// The side that is written to broke.
    Write,
    /// The bytes violate the body's framing.
    Framing(BodyError),
}

/// Waits for bytes and appends them to `pending`; returns how many, 0 at the end.
///
/// Cancellation loses nothing: there is no await between the read and the append.
pub(crate) async fn fill(from: &mut ReadHalf<'_>, pending: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|context| {
        SCRATCH.with_borrow_mut(|scratch| {
            let buffer = &mut scratch[..limits::HEAD_READ_BYTES];
            let count = ready!(poll_read(from, context, buffer))?;
            pending.extend_from_slice(&scratch[..count]);
            Poll::Ready(Ok(count))
        })
    })
    .await
}

/// Reads with the runtime's own read, which knows from a short read that nothing is left. The
/// `try_` methods do not and cost a system call more for each wait.
fn poll_read(
    from: &mut ReadHalf<'_>,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    ready!(Pin::new(from).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

async fn writable(stream: &TcpStream) -> io::Result<()> {
    poll_fn(|context| stream.poll_write_ready(context)).await
}

/// Writes `out` and then `parts` as far as the socket takes them; the rest is left in `out`.
fn write_now(stream: &TcpStream, out: &mut Vec<u8>, parts: [&[u8]; 2]) -> io::Result<()> {
    let slices = [
        IoSlice::new(out),
        IoSlice::new(parts[0]),
        IoSlice::new(parts[1]),
    ];
    let written = match stream.try_write_vectored(&slices) {
        Ok(written) => written,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    let from_out = written.min(out.len());
    let mut rest = written - from_out;
    consume(out, from_out);
    for part in parts {
        let taken = rest.min(part.len());
        out.extend_from_slice(&part[taken..]);
        rest -= taken;
    }
    Ok(())
}

/// Writes all of `out`.
pub(crate) async fn flush(stream: &TcpStream, out: &mut Vec<u8>) -> io::Result<()> {
    let mut sent = 0;
    while sent < out.len() {
        match stream.try_write(&out[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                consume(out, sent);
                sent = 0;
                writable(stream).await?;
            }
            Err(error) => return Err(error),
        }
    }
    out.clear();
    Ok(())
}

/// Removes the first `count` bytes.
pub(crate) fn consume(buffer: &mut Vec<u8>, count: usize) {
    if count == buffer.len() {
        buffer.clear();
    } else if count > 0 {
        buffer.drain(..count);
    }
}

/// Takes the bytes of `pending` that belong to `body` and appends them to `out` in `form`.
pub(crate) fn take_pending(
    pending: &mut Vec<u8>,
    body: &mut Body,
    form: Form,
    out: &mut Vec<u8>,
) -> Result<(), BodyError> {
    let taken = body.accept(pending, form)?;
    let kept = &pending[..taken.kept];
    if form == Form::Encoded && !kept.is_empty() {
        chunk_size(out, kept.len());
        out.extend_from_slice(kept);
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(kept);
    }
    consume(pending, taken.consumed);
    Ok(())
}

/// Reads once from `from` and passes what belongs to `body` on to `to`, after `out`.
///
/// Bytes after the body's end go to `leftover`. If nothing can be read at once, what is due is
/// written first, so that nothing waits here for what may never come.
pub(crate) async fn step(
    from: &mut ReadHalf<'_>,
    to: &TcpStream,
    out: &mut Vec<u8>,
    (body, form): (&mut Body, Form),
    leftover: &mut Vec<u8>,
) -> Result<Step, StepError> {
    let step = poll_fn(|context| {
        let step = poll_step(context, from, to, out, (body, form), leftover);
        if step.is_pending() && !out.is_empty() {
            Poll::Ready(Ok(Step::Moved))
        } else {
            step
        }
    })
    .await?;
    if !out.is_empty() {
        flush(to, out).await.map_err(|_| StepError::Write)?;
    }
    Ok(step)
}

fn poll_step(
    context: &mut Context<'_>,
    from: &mut ReadHalf<'_>,
    to: &TcpStream,
    out: &mut Vec<u8>,
    (body, form): (&mut Body, Form),
    leftover: &mut Vec<u8>,
) -> Poll<Result<Step, StepError>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let limit = body.read_limit(scratch.len());
        let read = ready!(poll_read(from, context, &mut scratch[..limit]));
        let count = read.map_err(|_| StepError::Read)?;
        let bytes = &mut scratch[..count];
        if bytes.is_empty() {
            return Poll::Ready(Ok(Step::Ended));
        }
        let taken = body.accept(bytes, form).map_err(StepError::Framing)?;
        leftover.extend_from_slice(&bytes[taken.consumed..]);
        let kept = &bytes[..taken.kept];
        let mut tail: &[u8] = b"";
        if form == Form::Encoded && !kept.is_empty() {
            chunk_size(out, kept.len());
            tail = b"\r\n";
        }
        write_now(to, out, [kept, tail]).map_err(|_| StepError::Write)?;
        Poll::Ready(Ok(Step::Moved))
    })
}

/// Appends the line that begins a chunk of `length` bytes.
fn chunk_size(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(format!("{length:x}\r\n").as_bytes());
}
