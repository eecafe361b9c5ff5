//! Owns what is put around a packet on its way to a backend that answers by itself, and the cutting off of its trailer
//! ("Wrapping" in `docs/packet-path.md`). Never which backend.

use lb_abi::maps::Addr;
use policy_lang::policy::Via;

use super::rewrite::{IPV4_CHECKSUM, UDP_CHECKSUM, mend_at, read, write};
use crate::packet::{Fields, Header, Layer4, UDP, checksum, mend};
use lb_abi::trailer::TRAILER_BYTES;

const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;

/// How a packet gets to a backend of a pool that does not translate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wrap {
    pub via: Via,
    /// The backend's.
    pub dst: Addr,
    pub v6: bool,
}

/// The frame without the last bytes of its UDP payload, and its fields. What stood behind the datagram is gone too.
pub(super) fn strip(frame: &[u8], fields: &Fields) -> (Vec<u8>, Fields) {
    let whole = usize::from(u16::from_be_bytes(read(frame, fields.transport + 4)));
    let length = whole.saturating_sub(TRAILER_BYTES);
    let Layer4::Udp { checksum, .. } = fields.layer4 else { return (frame.to_vec(), *fields) };
    let end = fields.transport + length;
    let mut out: Vec<u8> = frame.iter().copied().take(end).collect();
    let total = end - fields.ip;

    let (at, number) = if fields.v6 { (fields.ip + 4, total - 40) } else { (fields.ip + 2, total) };
    let old: [u8; 2] = read(frame, at);
    let new = (number as u16).to_be_bytes();
    write(&mut out, at, &new);
    if !fields.v6 {
        mend_at(&mut out, fields.ip + IPV4_CHECKSUM, &old, &new);
    }

    let new = (length as u16).to_be_bytes();
    write(&mut out, fields.transport + 4, &new);
    if checksum != 0 {
        // The length counts twice, in the header and in the pseudo-header. The words of what is cut begin at an even
        // byte of the datagram; a byte that stays in the first of them stays in the sum.
        let start = length & !1;
        let odd = whole & 1;
        let datagram = frame.get(fields.transport..fields.transport + whole).unwrap_or_default();
        let tail = datagram.get(start..).unwrap_or_default();
        let was = (whole as u16).to_be_bytes();
        let old = [&was, &was, tail, &vec![0; odd]].concat();
        let kept = tail.get(..length - start).unwrap_or_default();
        let mut rest = [&new, &new, kept].concat();
        rest.resize(old.len(), 0);
        let mended = mend(checksum, &old, &rest);
        let sent = if mended == 0 { 0xffff } else { mended };
        write(&mut out, fields.transport + UDP_CHECKSUM, &sent.to_be_bytes());
    }
    (out, Fields { end, len: total as u32, ..*fields })
}

/// The frame around its IP packet as it stands. `hash` is the packet's flow hash.
pub(super) fn wrap(frame: &[u8], fields: &Fields, wrap: &Wrap, hash: u64) -> Vec<u8> {
    let inner = frame.get(fields.ip..fields.end).unwrap_or_default();
    let class = if fields.v6 {
        (u16::from_be_bytes(read(inner, 0)) >> 4) as u8
    } else {
        inner.get(1).copied().unwrap_or(0)
    };
    let header = |proto| Header {
        // The address of the way to the backend, which only a routing table knows.
        src: [0; 16],
        dst: wrap.dst,
        v6: wrap.v6,
        proto,
        class,
        label: hash as u32 & 0xf_ffff,
    };
    let outer = match wrap.via {
        Via::Nat | Via::L2dsr => return frame.to_vec(),
        Via::Ipip => header(if fields.v6 { IPV6_IN_IP } else { IPV4_IN_IP }).bytes(inner.len()),
        Via::Gue { port } => {
            let length = 8 + inner.len();
            let sport = 0xc000 | (hash >> 50) as u16;
            let words = [sport, port, length as u16, 0];
            let mut udp: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            let header = header(UDP);
            if wrap.v6 {
                let sum = checksum(&header, &[&udp[..], inner].concat());
                write(&mut udp, UDP_CHECKSUM, &(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
            }
            [header.bytes(length), udp].concat()
        }
    };
    let ethertype: [u8; 2] = if wrap.v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    let link = frame.get(..fields.ip.saturating_sub(2)).unwrap_or_default();
    [link, &ethertype, &outer, inner].concat()
}
