//! Owns what is known of the packet in work: its fields as it arrived, and where its headers are.
//! Never its bytes; `frame.rs` reads and writes those.

use lb_abi::{
    image::{FRAG_NONE, Field},
    maps::{Flow, FlowKey, NextHop, Session},
};

use crate::{maps::PACKET, plan::Plan, verify::Asked};

/// Room for a value of each field; a power of two, so that no index needs a check that could panic.
const SLOTS: usize = 16;
const _: () = assert!(lb_abi::image::FIELDS <= SLOTS);

/// Lives in a per-CPU map, not on the stack: the verifier tracks no value in it, so that all ways of parsing are one
/// state for what follows. The price is that bounds of what is read back must be stated anew.
#[repr(C)]
pub struct Packet {
    /// The flow key: `sport` and `dport` of TCP and UDP, identifiers of ICMP echo.
    pub key: FlowKey,
    /// Bytes of the frame.
    pub frame_len: u32,
    /// Offsets in the frame of the IP header, the layer-4 header, and the end by the IP packet's own length.
    pub l3: u32,
    pub l4: u32,
    pub end: u32,
    /// 1 for IPv6.
    pub v6: u32,
    /// IP protocol, or the last next header.
    pub proto: u32,
    /// TCP sequence and acknowledgement number.
    pub seq: u32,
    pub ack: u32,
    /// Values of the fields by `Field`; the addresses' are not here, and the flow's only once it was asked for.
    pub field: [u32; SLOTS],
    /// Which half of the image this packet follows, and the generation's number.
    pub half: u32,
    pub generation: u32,
    /// Once the flow tables have been asked: 1 if anything stands under the packet's own key, live or not, and the
    /// table in which its live flow stands.
    pub stale: u32,
    pub table: u32,
    /// 1 if anything stands under the reply's key.
    pub reply_stale: u32,
    /// Coarse monotonic time, ns; 0 until asked for.
    pub now: u64,
    pub plan: Plan,
    /// Room for keys and an entry in the making: a stack has but 512 bytes.
    pub other: FlowKey,
    pub third: FlowKey,
    pub entry: Flow,
    pub session: Session,
    /// What `verify` leaves to user space.
    pub asked: Asked,
    /// 1 if a session began with this packet.
    pub born: u32,
    /// In the program that resumes one more than the packet's place in `RESUMES`; never written in the other.
    pub resumed: u32,
    /// Next template of a bench; outlives the packet.
    pub template: u32,
}

/// Protocol and padding of a key in one word: three bytes alone would become a call of `memset`.
#[inline(always)]
pub fn set_proto(key: &mut FlowKey, proto: u32) {
    const _: () = assert!(core::mem::offset_of!(FlowKey, pad) == core::mem::offset_of!(FlowKey, proto) + 1);
    // SAFETY: `proto` and `pad` are four bytes.
    unsafe { (&raw mut key.proto).cast::<u32>().write_unaligned(proto & 0xff) }
}

/// Ports, protocol and padding of a key in one word: the hash of a key reads both ports at once, and a load of what
/// two stores have just written waits until they are in the cache.
#[inline(always)]
pub fn set_ports(key: &mut FlowKey, sport: u32, dport: u32, proto: u32) {
    const _: () = assert!(core::mem::offset_of!(FlowKey, proto) == core::mem::offset_of!(FlowKey, sport) + 4);
    let word = (sport & 0xffff | dport << 16) as u64 | (proto as u64 & 0xff) << 32;
    // SAFETY: from `sport` to the end of `pad` are eight bytes. Volatile, so that it stays one store.
    unsafe { (&raw mut key.sport).cast::<Unaligned>().write_volatile(Unaligned(word)) }
}

/// A word at any place.
#[repr(C, packed(2))]
struct Unaligned(u64);

/// FINs, flags and certificate of an entry in one word, likewise.
#[inline(always)]
pub fn set_marks(flow: &mut Flow, fins: u32, flags: u32, cert: u32) {
    const _: () = assert!(core::mem::offset_of!(Flow, flags) == core::mem::offset_of!(Flow, fins) + 1);
    const _: () = assert!(core::mem::offset_of!(Flow, cert) == core::mem::offset_of!(Flow, fins) + 2);
    let word = fins & 0xff | (flags & 0xff) << 8 | cert << 16;
    // SAFETY: `fins`, `flags` and `cert` are four bytes, and aligned.
    unsafe { (&raw mut flow.fins).cast::<u32>().write_unaligned(word) }
}

/// No next hop known.
pub const NO_HOP: NextHop = NextHop { ifindex: 0, dmac: [0; 6], smac: [0; 6] };

/// A next hop, word by word.
#[inline(always)]
pub fn set_hop(to: &mut NextHop, from: &NextHop) {
    let (to, from) = (core::ptr::from_mut(to).cast::<u32>(), core::ptr::from_ref(from).cast::<u32>());
    for n in 0..4 {
        // SAFETY: both are four aligned words long. Volatile, or zeros would become a call of `memset`.
        unsafe { to.add(n).write_volatile(*from.add(n)) };
    }
}

impl Packet {
    /// This CPU's packet, its fields not yet valid.
    #[inline(always)]
    pub fn scratch() -> Option<*mut Packet> {
        PACKET.get_ptr_mut(crate::frame::key(0))
    }

    #[inline(always)]
    pub fn get(&self, field: Field) -> u32 {
        self.field[field as usize % SLOTS]
    }

    #[inline(always)]
    pub fn set(&mut self, field: Field, value: u32) {
        self.field[field as usize % SLOTS] = value;
    }

    /// Everything that parsing may leave out.
    #[inline(always)]
    pub fn reset(&mut self, frame_len: u32) {
        self.frame_len = frame_len;
        self.now = 0;
        self.plan.reset();
        self.set(Field::Dport, Field::Dport.absent());
        self.set(Field::Sport, Field::Sport.absent());
        self.set(Field::TcpFlags, Field::TcpFlags.absent());
        self.set(Field::IcmpType, Field::IcmpType.absent());
        self.set(Field::IcmpCode, Field::IcmpCode.absent());
        self.set(Field::Vlan, Field::Vlan.absent());
        self.set(Field::Frag, FRAG_NONE);
    }
}
