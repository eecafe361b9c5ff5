//! Owns what the namespace tests do with real sockets: transfers that check every byte, and the kernel's own counts of
//! what went wrong on the way. Never frames.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use ebpf_runtime::lab::Namespace;

/// How long a socket waits before the test has failed: a client's patience, through its first retransmissions (a SYN's
/// after 1, 2, 3 and 4 s), on a machine that has much else to do.
pub const WAIT: Duration = Duration::from_secs(20);

/// Sends `length` bytes to an echo server and demands the same bytes back.
pub fn tcp_transfer(namespace: &Namespace, server: SocketAddr, length: usize) {
    let sent = pattern(length);
    let back = namespace.run(|| {
        let mut stream = connect(server)?;
        let mut writer = stream.try_clone()?;
        std::thread::scope(|scope| {
            let sender =
                scope.spawn(|| writer.write_all(&sent).and_then(|()| writer.shutdown(Shutdown::Write)));
            let mut back = Vec::with_capacity(length);
            stream.read_to_end(&mut back)?;
            sender.join().expect("the sender does not panic")?;
            Ok::<_, io::Error>(back)
        })
    });
    let back =
        back.unwrap_or_else(|error| panic!("{error}")).unwrap_or_else(|error| panic!("{server}: {error}"));
    assert!(back == sent, "{server}: {} of {length} bytes came back, or others", back.len());
}

/// The same over UDP, in datagrams of 1,200 bytes of which each waits for the one before; demands every one back.
pub fn udp_transfer(namespace: &Namespace, server: SocketAddr, length: usize) {
    let sent = pattern(length);
    let exchanged = namespace.run(|| {
        let socket = UdpSocket::bind(any(server))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(WAIT))?;
        for (number, datagram) in sent.chunks(1_200).enumerate() {
            socket.send(datagram)?;
            let mut back = [0; 2_048];
            let length = socket.recv(&mut back)?;
            if back.get(..length) != Some(datagram) {
                return Err(io::Error::other(format!("datagram {number} came back as another")));
            }
        }
        Ok(())
    });
    exchanged
        .unwrap_or_else(|error| panic!("{error}"))
        .unwrap_or_else(|error| panic!("{server} by UDP: {error}"));
}

/// A connection to the server with timeouts, from the calling thread's namespace.
pub fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a message over an open connection to an echo server and demands it back.
pub fn exchange(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    stream.write_all(message)?;
    let mut back = vec![0; message.len()];
    stream.read_exact(&mut back)?;
    if back == message { Ok(()) } else { Err(io::Error::other("other bytes came back")) }
}

/// The wildcard address of the family of `server`, any port.
pub fn any(server: SocketAddr) -> &'static str {
    if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }
}

/// Bytes in which a shift or a repetition shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// The kernel's protocol counters of a namespace: `Tcp RetransSegs`, `Udp InDatagrams`, `Udp6InDatagrams`, …
/// (`/proc/net/snmp`, `/proc/net/snmp6`).
#[derive(Clone, Debug)]
pub struct Snmp(BTreeMap<String, u64>);

impl Snmp {
    pub fn of(namespace: &Namespace) -> Snmp {
        let texts = namespace.run(|| {
            let read = |name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
            Ok::<_, io::Error>((read("snmp")?, read("snmp6")?))
        });
        let (v4, v6) = texts.unwrap_or_else(|error| panic!("{error}")).expect("the kernel's counters");
        let mut counters = BTreeMap::new();
        // Pairs of lines: names, then values, both after the protocol.
        for pair in v4.lines().collect::<Vec<_>>().chunks(2) {
            let [names, values] = pair else { continue };
            let (protocol, names) = names.split_once(": ").expect("a protocol");
            let (_, values) = values.split_once(": ").expect("a protocol");
            for (name, value) in names.split(' ').zip(values.split(' ')) {
                // Some are limits and may be -1.
                counters.insert(format!("{protocol} {name}"), value.parse().unwrap_or(0));
            }
        }
        for line in v6.lines() {
            let mut words = line.split_whitespace();
            if let (Some(name), Some(value)) = (words.next(), words.next()) {
                counters.insert(name.to_owned(), value.parse().unwrap_or(0));
            }
        }
        Snmp(counters)
    }

    pub fn get(&self, name: &str) -> u64 {
        *self.0.get(name).unwrap_or_else(|| panic!("the kernel has no counter {name}"))
    }

    /// Packets that a receiver threw away for a wrong checksum.
    pub fn checksum_errors(&self) -> u64 {
        ["Tcp InCsumErrors", "Udp InCsumErrors", "Udp6InCsumErrors", "Icmp InCsumErrors", "Icmp6InCsumErrors"]
            .map(|name| self.get(name))
            .iter()
            .sum()
    }

    /// UDP datagrams of both families that arrived here, whatever became of them.
    pub fn udp_received(&self) -> u64 {
        ["Udp InDatagrams", "Udp InErrors", "Udp NoPorts", "Udp6InDatagrams", "Udp6InErrors", "Udp6NoPorts"]
            .map(|name| self.get(name))
            .iter()
            .sum()
    }

    pub fn udp_sent(&self) -> u64 {
        self.get("Udp OutDatagrams") + self.get("Udp6OutDatagrams")
    }
}
