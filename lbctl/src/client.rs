//! Owns a UDP client that signs what it sends, looks at what comes back, and repeats nothing. Never keys as files, and never
//! a terminal.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use compiler::packet::{Signer, forge};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Digits of the number that tells payloads apart.
const DIGITS: usize = 16;
/// Largest datagram.
const LONGEST: usize = 65_535;

/// What is sent.
#[derive(Clone)]
pub struct Plan {
    pub to: SocketAddr,
    /// Without one, as the routes say.
    pub from: Option<SocketAddr>,
    /// Without one, packets have no trailer.
    pub signer: Option<Signer>,
    pub payload: Payload,
    pub count: u64,
    pub interval: Duration,
    /// How long to wait behind the last packet.
    pub timeout: Duration,
    /// Spoil each signature.
    pub forge: bool,
    /// Send the first packet again and again.
    pub replay: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// A text, and behind it the number.
    Text(String),
    /// So many bytes, the number in front if it fits.
    Size(usize),
}

/// What happens on the way.
#[derive(Debug)]
pub enum Event<'a> {
    /// To packet `number`, counted from 0; none if it was answered before, or if it is not to be told which.
    Reply { number: Option<u64>, took: Option<Duration>, bytes: &'a [u8] },
    /// An ICMP error: nobody listens there, or a `reject`.
    Refused,
}

/// What became of it all.
#[derive(Clone, Default, Debug)]
pub struct Outcome {
    /// From the sending of each packet to its first reply.
    pub took: Vec<Option<Duration>>,
    /// Replies to what was answered already.
    pub repeated: u64,
    /// ICMP errors.
    pub refused: u64,
}

impl Outcome {
    /// Shortest, middle and longest time to a reply.
    pub fn times(&self) -> Option<[Duration; 3]> {
        let mut all: Vec<Duration> = self.took.iter().copied().flatten().collect();
        all.sort();
        Some([*all.first()?, *all.get(all.len() / 2)?, *all.last()?])
    }

    pub fn answered(&self) -> u64 {
        self.took.iter().flatten().count() as u64
    }

    /// Packets without a reply, counted from 0.
    pub fn lost(&self) -> impl Iterator<Item = u64> {
        (0..).zip(&self.took).filter(|(_, took)| took.is_none()).map(|(number, _)| number)
    }
}

/// Sends all of it and waits for what comes; in the network namespace of this thread.
pub fn run(plan: &Plan, mut told: impl FnMut(Event<'_>)) -> io::Result<Outcome> {
    let unspecified = match plan.to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(plan.from.unwrap_or(unspecified))?;
    socket.connect(plan.to)?;
    socket.set_nonblocking(true)?;
    // Signatures are the same for the same payload, and a replay window tells none from those of an earlier run.
    let base = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let mut sent: Vec<Instant> = Vec::new();
    let mut outcome = Outcome::default();
    let mut buffer = vec![0; LONGEST];
    let mut next = Instant::now();
    loop {
        let now = Instant::now();
        let more = (sent.len() as u64) < plan.count;
        if more && now >= next {
            let number = if plan.replay { 0 } else { sent.len() as u64 };
            let packet = plan.packet(base.wrapping_add(number))?;
            sent.push(Instant::now());
            outcome.took.push(None);
            match socket.send(&packet) {
                // The error of an earlier packet, or no room on the way out: this one is lost, and counted as that.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    outcome.refused += 1;
                    told(Event::Refused);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => _ = other?,
            }
            next += plan.interval;
        }
        while let Some(length) = receive(&socket, &mut buffer, &mut outcome, &mut told)? {
            let bytes = buffer.get(..length).unwrap_or(&[]);
            let number = plan.number(bytes, base, &sent, &outcome);
            let at = number.and_then(|number| {
                Some((sent.get(number as usize)?, outcome.took.get_mut(number as usize)?))
            });
            match at {
                Some((sent, took @ None)) => {
                    *took = Some(sent.elapsed());
                    told(Event::Reply { number, took: *took, bytes });
                }
                _ => {
                    outcome.repeated += 1;
                    told(Event::Reply { number: None, took: None, bytes });
                }
            }
        }
        let over = sent.last().map_or(now, |last| *last + plan.timeout);
        let more = (sent.len() as u64) < plan.count;
        let now = Instant::now();
        if !more && (now >= over || outcome.answered() == plan.count) {
            return Ok(outcome);
        }
        let wait = (if more { next } else { over }).saturating_duration_since(now);
        // A whole millisecond is the shortest that poll knows; below it, turn.
        let wait = PollTimeout::try_from(wait.as_millis().min(1_000)).unwrap_or(PollTimeout::ZERO);
        poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], wait)?;
    }
}

fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    outcome: &mut Outcome,
    told: &mut impl FnMut(Event<'_>),
) -> io::Result<Option<usize>> {
    loop {
        match socket.recv(buffer) {
            Ok(length) => return Ok(Some(length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                outcome.refused += 1;
                told(Event::Refused);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Plan {
    fn packet(&self, number: u64) -> io::Result<Vec<u8>> {
        let digits = format!("{number:0width$x}", width = DIGITS);
        let payload = match &self.payload {
            Payload::Text(text) => format!("{text} {digits}").into_bytes(),
            Payload::Size(size) => {
                // The last digits are those that change.
                let mut payload =
                    digits.as_bytes().get(DIGITS.saturating_sub(*size)..).unwrap_or(&[]).to_vec();
                payload.resize(*size, b'.');
                payload
            }
        };
        let Some(signer) = &self.signer else { return Ok(payload) };
        let signed = signer.sign(payload);
        let mut signed = signed.ok_or_else(|| io::Error::other("the payload cannot be signed"))?;
        if self.forge {
            forge(&mut signed);
        }
        Ok(signed)
    }

    /// Which packet a reply is to: the one whose number it repeats, or else the latest that has none.
    fn number(&self, reply: &[u8], base: u64, sent: &[Instant], outcome: &Outcome) -> Option<u64> {
        let repeated = reply.windows(DIGITS).find_map(|digits| {
            let number = u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
            number.checked_sub(base).filter(|number| *number < sent.len() as u64)
        });
        match repeated {
            Some(number) if !self.replay => Some(number),
            _ => outcome.took.iter().rposition(Option::is_none).map(|number| number as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(to: SocketAddr) -> Plan {
        Plan {
            to,
            from: None,
            signer: None,
            payload: Payload::Text("hello".into()),
            count: 4,
            interval: Duration::from_millis(2),
            timeout: Duration::from_millis(300),
            forge: false,
            replay: false,
        }
    }

    #[test]
    fn a_payload_has_the_size_that_was_asked_for() {
        let of = |size| Plan { payload: Payload::Size(size), ..plan(([127, 0, 0, 1], 1).into()) };
        for size in [0, 3, 16, 100] {
            assert_eq!(of(size).packet(0x1234).unwrap().len(), size);
        }
        assert_eq!(of(3).packet(0x1234).unwrap(), b"234");
    }

    /// The second packet gets no answer, the others one that repeats their number, in the wrong order.
    #[test]
    fn replies_are_told_apart_by_the_number_they_repeat() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        let answers = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for _ in 0..4 {
                let mut buffer = [0; 100];
                let (length, from) = server.recv_from(&mut buffer).unwrap();
                seen.push((buffer[..length].to_vec(), from));
            }
            for number in [3, 2, 0, 0] {
                let (payload, from) = &seen[number];
                server.send_to(payload, from).unwrap();
            }
        });
        let outcome = run(&plan(to), |_| {}).unwrap();
        answers.join().unwrap();
        assert_eq!(outcome.lost().collect::<Vec<_>>(), [1]);
        assert_eq!((outcome.answered(), outcome.repeated), (3, 1));
    }

    #[test]
    fn a_port_where_nobody_listens_is_refused_and_not_an_error() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let outcome = run(&plan(free), |_| {}).unwrap();
        assert!(outcome.refused > 0);
        assert_eq!(outcome.answered(), 0);
    }
}
