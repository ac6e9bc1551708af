//! Listeners: accepting connections for a pool, and leaving without losing one.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Front, Stage, closing, serve};
use crate::limits;
use crate::pool::{Pool, Protocol};
use crate::tunnel::serve_tcp;

/// What every listener needs to know of the proxy it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct House {
    /// Held by each task that must end before the proxy has ended.
    pub(crate) alive: mpsc::Sender<()>,
    /// Turns true when what still runs is to be cut.
    pub(crate) cut: watch::Receiver<bool>,
}

/// An open listener. Dropping it closes it like [`Listener::close`].
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    stage: watch::Sender<Stage>,
    unbound: Option<Unbound>,
}

/// Resolves, with an error or without, once a listener's address is free again.
pub(crate) type Unbound = oneshot::Receiver<()>;

impl Listener {
    /// Opens a listener for `pool` and starts accepting.
    ///
    /// # Errors
    ///
    /// Whatever binding fails with, such as [`ErrorKind::AddrInUse`].
    pub(crate) fn open(address: SocketAddr, pool: Arc<Pool>, house: House) -> io::Result<Self> {
        let listener = bind(address)?;
        let address = listener.local_addr()?;
        let (stage, receiver) = watch::channel(Stage::Open);
        let front = Front {
            pool,
            authority: address.to_string(),
            stage: receiver,
        };
        let (bound, unbound) = oneshot::channel();
        tokio::spawn(run(listener, bound, Arc::new(front), house));
        Ok(Self {
            address,
            stage,
            unbound: Some(unbound),
        })
    }

    /// Stops accepting. Connections end after their next answer, or soon if they are idle.
    pub(crate) fn close(mut self) -> Option<Unbound> {
        self.unbound.take()
    }
}

/// Opens a listening socket.
///
/// Accepted sockets inherit `TCP_NODELAY` and the keep-alive settings from it, on Linux and the
/// BSDs alike, which saves three system calls for each connection.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(limits::TCP_KEEPALIVE);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    socket.bind(address)?;
    socket.listen(limits::BACKLOG)
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stage.send_replace(Stage::Closing);
    }
}

async fn run(
    listener: TcpListener,
    bound: oneshot::Sender<()>,
    front: Arc<Front>,
    mut house: House,
) {
    let mut stage = front.stage.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = closing(&mut stage) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => spawn(&mut connections, stream, peer, &front),
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => sleep(limits::ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    // Whoever is in the queue has been told by the kernel that it is connected.
    while let Some((stream, peer)) = accept_now(&listener).await {
        spawn(&mut connections, stream, peer, &front);
    }
    drop(listener);
    drop(bound);
    let all = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = all => {}
        () = cut(&mut house.cut) => {}
    }
    connections.shutdown().await;
    drop(house.alive);
}

fn spawn(connections: &mut JoinSet<()>, stream: TcpStream, peer: SocketAddr, front: &Arc<Front>) {
    let front = Arc::clone(front);
    match front.pool.protocol {
        Protocol::Http => connections.spawn(serve(stream, peer, front)),
        Protocol::Tcp => connections.spawn(serve_tcp(stream, front)),
    };
}

/// Waits until what still runs is to be cut. A proxy that was dropped cuts nothing.
async fn cut(signal: &mut watch::Receiver<bool>) {
    if signal.wait_for(|cut| *cut).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Accepts a connection that is already waiting.
async fn accept_now(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    std::future::poll_fn(|context| match listener.poll_accept(context) {
        Poll::Ready(Ok(accepted)) => Poll::Ready(Some(accepted)),
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Returns whether accepting failed for one connection that is already gone again.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}
