use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that may wait to be accepted; the system may allow fewer (`net.core.somaxconn`).
/// What has no room loses its first packet and waits a second until it is sent again, and tokio's
/// own 128 are fewer than one burst.
const BACKLOG: u32 = 4096;

/// Opens a listening socket. Belongs into a tokio runtime.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A port whose last connections have just ended is free.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Listens no more; what waits to be accepted until then.
///
/// The system is asked directly: what has arrived just now is not known to the runtime yet, and
/// would be reset.
pub(super) fn close(listener: TcpListener) -> impl Iterator<Item = TcpStream> {
    let listener = listener.into_std();
    let waiting = std::iter::from_fn(move || {
        let (stream, _) = listener.as_ref().ok()?.accept().ok()?;
        Some(stream)
    });
    waiting.filter_map(|stream| {
        stream.set_nonblocking(true).ok()?;
        TcpStream::from_std(stream).ok()
    })
}
