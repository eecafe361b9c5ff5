//! `strip`: what is cut off a packet that is forwarded, and the lengths and checksums that are left.

use ebpf_runtime::trial::Action;
use lb_abi::image::*;
use lb_abi::maps::RESUME_ON;
use lb_abi::reason::Reason;

use crate::certified::{Certified, PEERS, Setting, trailer};
use crate::flows::{BACKEND6, CLIENT, CLIENT6, VIP, VIP6};

/// What is around a datagram.
#[derive(Clone, Copy, Default, Debug)]
struct Shape {
    v6: bool,
    tags: usize,
    /// Words of IPv4 options, or extension headers of 8 bytes.
    extra: usize,
    /// Bytes of the IP packet behind the datagram, and of the frame behind the packet.
    behind: usize,
    padding: usize,
    /// UDP has no checksum, or one that is too high by so much.
    unsummed: bool,
    wrong: u16,
    /// The client's port is 4000 and so much.
    client: u16,
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|two| u32::from(two[0]) << 8 | two.get(1).map_or(0, |low| u32::from(*low))).sum()
}

impl Shape {
    fn l3(self) -> usize {
        14 + 4 * self.tags
    }

    fn l4(self) -> usize {
        self.l3() + if self.v6 { 40 + 8 * self.extra } else { 20 + 4 * self.extra }
    }

    /// The frame of a datagram, between two ends, from port 4000 to 443.
    fn frame(self, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        (0..self.tags).for_each(|_| frame.extend([0x81, 0, 0, 7]));
        let length = 8 + payload.len();
        let total = self.l4() - self.l3() + length + self.behind;
        if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(((total - 40) as u16).to_be_bytes());
            frame.extend([if self.extra == 0 { 17 } else { 60 }, 64]);
            frame.extend(CLIENT6);
            frame.extend(VIP6);
            for n in (0..self.extra).rev() {
                frame.extend([if n == 0 { 17 } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
            }
        } else {
            frame.extend([8, 0, 0x45 + self.extra as u8, 0]);
            frame.extend((total as u16).to_be_bytes());
            frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
            frame.extend(CLIENT);
            frame.extend(VIP);
            (0..self.extra).for_each(|_| frame.extend([1, 1, 1, 1]));
            let header = self.l3()..self.l4();
            let mended = !fold(sum(&frame[header]));
            frame[self.l3() + 10..self.l3() + 12].copy_from_slice(&mended.to_be_bytes());
        }
        frame.extend((4000 + self.client).to_be_bytes());
        frame.extend(443u16.to_be_bytes());
        frame.extend((length as u16).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        let right = !fold(self.covered(&frame, length));
        let checksum = match (self.unsummed, if right == 0 { 0xffff } else { right }) {
            (true, _) => 0,
            (false, right) => fold(u32::from(right) + u32::from(self.wrong)),
        };
        let at = self.l4() + 6;
        frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        frame.extend(vec![0x55; self.behind]);
        frame.extend(vec![0xaa; self.padding]);
        frame
    }

    /// The sum of what UDP's checksum covers, itself included.
    fn covered(self, frame: &[u8], length: usize) -> u32 {
        let addresses = if self.v6 { 8..40 } else { 12..20 };
        let addresses = self.l3() + addresses.start..self.l3() + addresses.end;
        sum(&frame[addresses]) + 17 + length as u32 + sum(&frame[self.l4()..self.l4() + length])
    }

    /// Panics unless the frame is this payload and nothing else, with right lengths and checksums.
    fn is_left(self, frame: &[u8], payload: &[u8]) {
        let (l3, l4) = (self.l3(), self.l4());
        let word = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        assert_eq!(&frame[l4 + 8..], payload, "{self:?}");
        assert_eq!(word(l4 + 4), 8 + payload.len(), "{self:?}");
        if self.v6 {
            assert_eq!(word(l3 + 4), frame.len() - l3 - 40, "{self:?}");
        } else {
            assert_eq!(word(l3 + 2), frame.len() - l3, "{self:?}");
            assert_eq!(fold(sum(&frame[l3..l4])), 0xffff, "{self:?}");
        }
        match self.unsummed {
            true => assert_eq!(word(l4 + 6), 0, "{self:?}"),
            false => {
                let wrong = fold(self.covered(frame, 8 + payload.len()));
                assert_eq!(wrong, if self.wrong == 0 { 0xffff } else { self.wrong }, "{self:?}");
                assert_ne!(word(l4 + 6), 0, "{self:?}");
            }
        }
    }
}

fn stripping() -> Certified {
    let mut setting = Setting { flags: AUTHORITY_ONCE | AUTHORITY_STRIP, ..Setting::new() };
    setting.peers[0].v6 = Some(BACKEND6);
    setting.load()
}

fn shapes() -> Vec<Shape> {
    let plain = Shape::default();
    let mut shapes = vec![
        plain,
        Shape { padding: 1, ..plain },
        Shape { padding: 46, ..plain },
        Shape { behind: 1, ..plain },
        Shape { behind: 7, padding: 9, ..plain },
        Shape { tags: 1, ..plain },
        Shape { tags: 2, extra: 3, padding: 5, ..plain },
        Shape { extra: 10, ..plain },
        Shape { wrong: 1, ..plain },
        Shape { wrong: 0xabcd, padding: 3, ..plain },
    ];
    shapes.extend(shapes.clone().into_iter().map(|shape| Shape {
        v6: true,
        extra: shape.extra.min(7),
        ..shape
    }));
    shapes.push(Shape { unsummed: true, ..plain });
    shapes.push(Shape { unsummed: true, padding: 3, ..plain });
    shapes.iter_mut().zip(0..).for_each(|(shape, client)| shape.client = client);
    shapes
}

#[test]
fn the_trailer_and_all_behind_it_is_cut_off() {
    let mut certified = stripping();
    for shape in shapes() {
        let mut first = true;
        for length in [0, 1, 2, 3, 64, 101, 1_000, 1_233] {
            let payload: Vec<u8> = (0..length).map(|n: usize| (n * 31) as u8 ^ 0x5a).collect();
            let frame = shape.frame(&[&payload[..], &trailer(1)].concat());
            let sent = match first {
                true => certified.served(&frame),
                false => {
                    let ran = certified.balancer.run(&frame);
                    assert_eq!(ran.action, Action::Tx, "{shape:?} {:?}", certified.balancer.reasons());
                    ran.frame
                }
            };
            first = false;
            shape.is_left(&sent, &payload);
            let l3 = shape.l3();
            match shape.v6 {
                true => assert_eq!(sent[l3 + 24..l3 + 40], BACKEND6),
                false => assert_eq!(sent[l3 + 16..l3 + 20], PEERS[0]),
            }
        }
    }
}

/// A sum of 0 must not be written as it is: RFC 768 takes it for none.
#[test]
fn a_checksum_that_comes_to_0_is_written_as_ones() {
    let mut certified = stripping();
    certified.served(&Shape::default().frame(&trailer(1)));
    let seen = (0..=0xffffu16).filter(|word| {
        // The word that makes the sum of the stripped datagram 0xffff: its checksum is 0.
        let frame = Shape::default().frame(&[&word.to_be_bytes()[..], &trailer(1)].concat());
        let mut left = frame.clone();
        left.truncate(frame.len() - 104);
        left[30..34].copy_from_slice(&PEERS[0]);
        left[38..40].copy_from_slice(&10u16.to_be_bytes());
        left[40..42].copy_from_slice(&[0, 0]);
        if fold(Shape::default().covered(&left, 10)) != 0xffff {
            return false;
        }
        let sent = certified.balancer.run(&frame).frame;
        assert_eq!(sent[40..42], [0xff, 0xff]);
        true
    });
    assert_eq!(seen.count(), 1);
}

#[test]
fn without_strip_the_trailer_goes_along() {
    let mut certified = Certified::new();
    let frame = Shape { padding: 3, ..Shape::default() }.frame(&trailer(1));
    let sent = certified.served(&frame);
    assert_eq!(sent.len(), frame.len());
    assert_eq!(sent[42..], frame[42..]);
}

/// What fits only without its trailer fits.
#[test]
fn the_mtu_is_for_what_is_sent() {
    for (flags, action) in [(0, Action::Drop), (AUTHORITY_STRIP, Action::Tx)] {
        let mut certified = Setting { flags, ..Setting::new() }.load();
        let frame = Shape::default().frame(&[vec![7; 1_500 - 28], trailer(1)].concat());
        let punt = certified.punt(&frame);
        let (resumed, out) = certified.resume(&punt, &frame, RESUME_ON);
        assert_eq!(resumed.action, action);
        assert_eq!(certified.count(Reason::TooBig), u64::from(action == Action::Drop));
        if action == Action::Tx {
            assert_eq!(out.len(), 1_514);
        }
    }
}
