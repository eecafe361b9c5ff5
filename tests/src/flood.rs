//! Owns floods: frames from forged sources, as fast as one thread can send them or at a pace. Never counts what becomes of
//! them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ebpf_runtime::lab::{FrameSocket, HOST_DEVICE, Host};

use crate::frame::{Packet, TCP, Transport, checksum};

/// A flood that goes on until it is ended.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Flood {
    /// Sends the packet, TCP or UDP over IPv4 without options and of a client's network, over and over, each from another
    /// address and port.
    pub fn start(host: &Host, packet: &Packet) -> Flood {
        Flood::begin(host, packet, || {})
    }

    /// As `start`, but no more than `rate` frames a second. What a pause has cost is made up for in part only: a device's
    /// queue holds 256 frames, and no burst may fill it.
    pub fn paced(host: &Host, packet: &Packet, rate: u64) -> Flood {
        const BURST: f64 = 64.0;
        let (mut allowed, mut since) = (BURST, Instant::now());
        Flood::begin(host, packet, move || {
            while allowed < 1.0 {
                std::thread::sleep(Duration::from_millis(1));
                allowed = BURST.min(allowed + since.elapsed().as_secs_f64() * rate as f64);
                since = Instant::now();
            }
            allowed -= 1.0;
        })
    }

    /// Calls `wait` before each frame.
    fn begin(host: &Host, packet: &Packet, mut wait: impl FnMut() + Send + 'static) -> Flood {
        let mut forger = Forger::new(host, packet);
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                wait();
                count.fetch_add(u64::from(forger.send()), Ordering::Relaxed);
            }
        });
        Flood { stop, sent, thread }
    }

    /// Frames sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Frames sent in all.
    pub fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the flood ends");
        self.sent.load(Ordering::Relaxed)
    }
}

/// Sends one packet after the other, each from another address and port.
#[derive(Debug)]
pub struct Forger {
    socket: FrameSocket,
    frame: Vec<u8>,
    number: u32,
}

impl Forger {
    /// Of a packet as `Flood::start` takes it.
    pub fn new(host: &Host, packet: &Packet) -> Forger {
        let mut frame = packet.bytes();
        frame[..6].copy_from_slice(&host.balancer_mac);
        frame[6..12].copy_from_slice(&host.mac);
        let socket = FrameSocket::open(&host.namespace, HOST_DEVICE).expect("a raw socket");
        Forger { socket, frame, number: 0 }
    }

    /// Whether the next one was sent: a full queue refuses some.
    pub fn send(&mut self) -> bool {
        self.number = self.number.wrapping_add(1);
        spoof(&mut self.frame, self.number);
        self.socket.send(&self.frame).is_ok()
    }
}

/// The source of a packet that is to be forged.
pub const ANYBODY: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Another source below 100.64.0.0/10, another port, and the checksums mended as RFC 1624 has it.
fn spoof(frame: &mut [u8], number: u32) {
    let mixed = number.wrapping_mul(2_654_435_761);
    let before: [u8; 6] = [frame[26], frame[27], frame[28], frame[29], frame[34], frame[35]];
    frame[26..30].copy_from_slice(&(0x6440_0000 | mixed >> 10).to_be_bytes());
    frame[34..36].copy_from_slice(&(1_024 + (mixed % 60_000) as u16).to_be_bytes());
    let after: [u8; 6] = [frame[26], frame[27], frame[28], frame[29], frame[34], frame[35]];
    mend(&mut frame[24..26], &before[..4], &after[..4]);
    let sum = if frame[23] == TCP { 50 } else { 40 };
    if frame[sum..sum + 2] != [0, 0] {
        mend(&mut frame[sum..sum + 2], &before, &after);
    }
}

/// `HC' = ~(~HC + Σ(~m + m'))`.
fn mend(sum: &mut [u8], before: &[u8], after: &[u8]) {
    let complement = before.iter().map(|byte| !byte).collect::<Vec<u8>>();
    let field = [!sum[0], !sum[1]];
    sum.copy_from_slice(&checksum(&[&field, &complement, after]).to_be_bytes());
}

/// A UDP packet without a checksum, or a TCP packet, is the same in all but its source.
pub fn udp(to: (IpAddr, u16), payload: &[u8]) -> Packet {
    let mut packet = Packet::udp(ANYBODY, to).payload(payload);
    packet.transport = Transport::Udp { sport: 0, dport: to.1, checksum: false };
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::SYN;

    /// With wrong checksums a flood would be none.
    #[test]
    fn forged_frames_have_right_checksums() {
        let to = ("203.0.113.10".parse().unwrap(), 7);
        let tcp = Packet::tcp(ANYBODY, to, SYN, 1, 0);
        let with_sum = Packet::udp(ANYBODY, to).payload(b"odd");
        for packet in [tcp, with_sum, udp(to, b"odd")] {
            let mut frame = packet.bytes();
            for number in [1, 77, 78, u32::MAX] {
                spoof(&mut frame, number);
                assert_eq!(checksum(&[&frame[14..34]]), 0);
                let length = ((frame.len() - 34) as u32).to_be_bytes();
                let sum = checksum(&[&frame[26..34], &length, &[0, 0, 0, frame[23]], &frame[34..]]);
                let none = frame[23] != TCP && frame[40..42] == [0, 0];
                assert!(none || sum == 0, "{sum:#x}");
            }
        }
    }
}
