//! Owns one attempt of the client: a ping, a connection or a datagram, the packet it starts with, and what came back.
//! Never what ought to come back.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use compiler::packet;
use ebpf_runtime::lab::{self, Host};
use lb_abi::image::FLAG_SYN;
use policy_lang::policy::{PacketSpec, ProtoSpec};
use serde::Serialize;

/// How long the client waits for nothing: below the second after which a stack repeats itself, so that a packet is one
/// packet.
pub const NOTHING: Duration = Duration::from_millis(400);
/// How long for an answer, on a machine that is busy with something else.
pub const ANSWER: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Ping,
    Http,
    Tcp,
    Udp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    pub kind: Kind,
    /// The port is the identifier of a ping.
    pub source: SocketAddr,
    /// The port is 0 for a ping.
    pub target: SocketAddr,
}

/// What the client saw.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Nothing,
    /// By ICMP, in microseconds.
    Echo {
        micros: u64,
    },
    /// By a server, which says who it is and who it thinks is asking.
    Server {
        name: String,
        sees: String,
        micros: u64,
    },
    /// Something else: a refused connection.
    Other(String),
}

impl Attempt {
    /// `ping 192.168.0.100`, `tcp [2001:db8::10]:443`.
    pub fn what(&self) -> String {
        match self.kind {
            Kind::Ping => format!("ping {}", self.target.ip()),
            Kind::Http => format!("http {}", self.target),
            Kind::Tcp => format!("tcp {}", self.target),
            Kind::Udp => format!("udp {}", self.target),
        }
    }

    /// The packet it starts with, as it leaves the client.
    pub fn frame(&self) -> Vec<u8> {
        let (sport, dport) = (self.source.port(), self.target.port());
        let (proto, payload) = match (self.kind, self.target.ip()) {
            (Kind::Ping, IpAddr::V4(_)) => (ProtoSpec::Icmp { kind: 8, code: 0, id: sport }, vec![0; 8]),
            (Kind::Ping, IpAddr::V6(_)) => (ProtoSpec::Icmp6 { kind: 128, code: 0, id: sport }, vec![0; 8]),
            (Kind::Http | Kind::Tcp, _) => {
                (ProtoSpec::Tcp { sport, dport, flags: FLAG_SYN as u8, seq: 0, ack: 0 }, Vec::new())
            }
            (Kind::Udp, _) => (ProtoSpec::Udp { sport, dport }, b"hello\n".to_vec()),
        };
        packet::build(&PacketSpec { payload, ..PacketSpec::new(self.source.ip(), self.target.ip(), proto) })
    }

    /// Does it and waits for what comes of it.
    pub fn make(&self, client: &Host, wait: Duration) -> Result<Answer, lab::Error> {
        let started = Instant::now();
        let micros = |took: Duration| took.as_micros() as u64;
        if self.kind == Kind::Ping {
            let (source, target) = (self.source.ip(), self.target.ip());
            let took = lab::ping(&client.namespace, source, target, self.source.port(), 1, wait)?;
            return Ok(took.map_or(Answer::Nothing, |took| Answer::Echo { micros: micros(took) }));
        }
        let answer = client.namespace.run(|| match self.kind {
            Kind::Http => self.converse("GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n", wait),
            Kind::Udp => self.datagram(wait),
            Kind::Tcp | Kind::Ping => self.converse("hello\n", wait),
        })?;
        Ok(match answer {
            Ok(answer) => match answer.lines().last().and_then(|line| line.split_once(" sees ")) {
                Some((name, sees)) => Answer::Server {
                    name: name.to_owned(),
                    sees: sees.to_owned(),
                    micros: micros(started.elapsed()),
                },
                None => Answer::Other(format!("{answer:?}")),
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
                Answer::Nothing
            }
            Err(error) => Answer::Other(error.to_string()),
        })
    }

    fn converse(&self, question: &str, wait: Duration) -> io::Result<String> {
        let mut stream = lab::connect_from(self.source, self.target, wait)?;
        stream.write_all(question.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn datagram(&self, wait: Duration) -> io::Result<String> {
        let socket = UdpSocket::bind(self.source)?;
        socket.set_read_timeout(Some(wait))?;
        socket.connect(self.target)?;
        socket.send(b"hello\n")?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        Ok(String::from_utf8_lossy(answer.get(..length).unwrap_or(&[])).into_owned())
    }
}
