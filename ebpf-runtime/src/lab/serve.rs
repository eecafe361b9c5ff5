//! Owns small servers that run in a namespace until they are dropped: TCP and UDP echo, and a page over HTTP.
//! Never anything that a test would have to configure.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt, setsockopt, socket,
    sockopt,
};

use super::{Error, Namespace};

/// How often a server looks whether it was dropped.
const LOOK: u16 = 50;
/// Bytes of datagrams that may wait for a server.
const BACKLOG: usize = 8 << 20;

/// A server on threads of its own. It counts the connections (TCP) or datagrams (UDP) it has seen.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Server {
    /// Connections or datagrams so far.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Sends back every byte until the client closes its side.
    pub fn tcp_echo(namespace: &Namespace, address: SocketAddr) -> Result<Server, Error> {
        Server::tcp(namespace, address, |mut stream: TcpStream| {
            let mut copy = stream.try_clone()?;
            io::copy(&mut copy, &mut stream)?;
            stream.shutdown(std::net::Shutdown::Write)
        })
    }

    /// Answers every request with `page` (HTTP/1.1, RFC 9112) and closes.
    pub fn http(namespace: &Namespace, address: SocketAddr, page: String) -> Result<Server, Error> {
        Server::tcp(namespace, address, move |mut stream: TcpStream| {
            let mut request = Vec::new();
            let mut some = [0; 1_024];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut some)? {
                    0 => return Ok(()),
                    more => request.extend_from_slice(some.get(..more).unwrap_or(&[])),
                }
            }
            let length = page.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
            )?;
            stream.shutdown(std::net::Shutdown::Write)
        })
    }

    /// `serve` runs on a thread for each connection; its errors end the connection.
    pub fn tcp<F>(namespace: &Namespace, address: SocketAddr, serve: F) -> Result<Server, Error>
    where
        F: Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    {
        let failed = |cause| Error::new(format!("listen on {address} in {}", namespace.name()), cause);
        let listener = namespace.run(|| TcpListener::bind(address))?.map_err(failed)?;
        let server = Server::at(listener.local_addr().map_err(failed)?);
        let (stop, seen, serve) = (server.stop.clone(), server.seen.clone(), Arc::new(serve));
        namespace.spawn(move || {
            while waits(&listener, &stop) {
                let Ok((stream, _)) = listener.accept() else { continue };
                seen.fetch_add(1, Ordering::Relaxed);
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream));
            }
        })?;
        Ok(server)
    }

    /// Sends back every datagram.
    pub fn udp_echo(namespace: &Namespace, address: SocketAddr) -> Result<Server, Error> {
        Server::udp(namespace, address, |datagram, _| datagram.to_vec())
    }

    /// Sends what `answer` makes of a datagram and its sender.
    pub fn udp<F>(namespace: &Namespace, address: SocketAddr, answer: F) -> Result<Server, Error>
    where
        F: Fn(&[u8], SocketAddr) -> Vec<u8> + Send + 'static,
    {
        let failed = |cause| Error::new(format!("listen on {address} in {}", namespace.name()), cause);
        let socket = namespace.run(|| UdpSocket::bind(address))?.map_err(failed)?;
        // A frame that a program has sent counts for the page it lies in.
        setsockopt(&socket, sockopt::RcvBufForce, &BACKLOG).map_err(|errno| failed(errno.into()))?;
        let server = Server::at(socket.local_addr().map_err(failed)?);
        let (stop, seen) = (server.stop.clone(), server.seen.clone());
        namespace.spawn(move || {
            let mut datagram = vec![0; 65_536];
            while waits(&socket, &stop) {
                let Ok((length, from)) = socket.recv_from(&mut datagram) else { continue };
                seen.fetch_add(1, Ordering::Relaxed);
                let answer = answer(datagram.get(..length).unwrap_or(&[]), from);
                // A client that has gone is its own affair.
                let _gone = socket.send_to(&answer, from);
            }
        })?;
        Ok(server)
    }

    fn at(address: SocketAddr) -> Server {
        Server { address, seen: Arc::default(), stop: Arc::default() }
    }
}

/// Waits until the socket is readable; false once the server was dropped.
fn waits(socket: &impl AsFd, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut polled, PollTimeout::from(LOOK)).is_ok_and(|ready| ready > 0) {
            return true;
        }
    }
}

/// Connects, asks for `/` and returns the body. `Ok(None)` where no answer came within `wait`.
pub fn http_get(namespace: &Namespace, target: SocketAddr, wait: Duration) -> Result<Option<String>, Error> {
    let answer: io::Result<String> = namespace.run(|| {
        let mut stream = TcpStream::connect_timeout(&target, wait)?;
        stream.set_read_timeout(Some(wait))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?;
    match answer {
        Ok(answer) => Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => Ok(None),
        Err(cause) => Err(Error::new(format!("get a page from {target}"), cause)),
    }
}

/// Connects from a chosen address and port, so that the flow's tuple is known. Call it inside a namespace. `TimedOut`
/// where nothing answers within `wait`; what is read and written afterwards has the same limit.
pub fn connect_from(source: SocketAddr, target: SocketAddr, wait: Duration) -> io::Result<TcpStream> {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    // The same tuple may be used again while the kernel still remembers its last connection.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(source))?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(target)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let wait_ms = PollTimeout::try_from(wait.as_millis()).unwrap_or(PollTimeout::MAX);
    if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], wait_ms)? == 0 {
        return Err(io::Error::from(io::ErrorKind::TimedOut));
    }
    let failed = getsockopt(&socket, sockopt::SocketError)?;
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(wait))?;
    Ok(stream)
}
