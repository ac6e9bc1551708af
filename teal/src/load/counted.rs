//! Connections that count the bytes that arrive, because "before any byte of the response" cannot
//! be told from the errors of the libraries above.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::fault::{FailureClass, Fault};

/// How much has arrived on one connection.
#[derive(Clone, Default)]
pub(super) struct Received(Arc<AtomicU64>);

impl Received {
    /// Returns how many bytes have arrived.
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Connects to the target.
pub(super) async fn connect(target: &str) -> Result<(Counted, Received), Fault> {
    let connected = TcpStream::connect(target).await.and_then(|stream| {
        stream.set_nodelay(true)?;
        let received = Received::default();
        Ok((
            Counted {
                stream,
                received: received.clone(),
            },
            received,
        ))
    });
    connected.map_err(|error| {
        let class = if error.kind() == io::ErrorKind::ConnectionRefused {
            FailureClass::ConnectRefused
        } else {
            FailureClass::ConnectFailed
        };
        Fault::from_error(class, &error)
    })
}

/// A connection that counts what it receives.
pub(super) struct Counted {
    stream: TcpStream,
    received: Received,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = u64::try_from(buffer.filled().len() - before).unwrap_or(u64::MAX);
        self.received.0.fetch_add(read, Ordering::Release);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
