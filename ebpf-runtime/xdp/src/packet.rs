//! Owns what is known of the packet in work: its fields as it arrived, and where its headers are.
//! Never its bytes; `frame.rs` reads and writes those.

use lb_abi::{
    image::{FRAG_NONE, Field},
    maps::FlowKey,
};

use crate::maps::PACKET;

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
    /// Values of the fields by `Field`; the addresses' and the flow's are not here.
    pub field: [u32; 16],
    /// Which half of the image this packet follows.
    pub half: u32,
    /// 1 once the flow tables have been asked.
    pub looked_up: u32,
    /// Coarse monotonic time, ns; 0 until asked for.
    pub now: u64,
}

impl Packet {
    /// This CPU's packet, its fields not yet valid.
    #[inline(always)]
    pub fn scratch() -> Option<*mut Packet> {
        PACKET.get_ptr_mut(crate::frame::key(0))
    }

    #[inline(always)]
    pub fn get(&self, field: Field) -> u32 {
        self.field[field as usize]
    }

    #[inline(always)]
    pub fn set(&mut self, field: Field, value: u32) {
        self.field[field as usize] = value;
    }

    /// Everything that parsing may leave out.
    #[inline(always)]
    pub fn reset(&mut self, frame_len: u32) {
        self.frame_len = frame_len;
        self.looked_up = 0;
        self.now = 0;
        for field in
            [Field::Dport, Field::Sport, Field::TcpFlags, Field::IcmpType, Field::IcmpCode, Field::Vlan]
        {
            self.set(field, field.absent());
        }
        self.set(Field::Frag, FRAG_NONE);
        self.key.sport = 0;
        self.key.dport = 0;
        self.key.pad = [0; 3];
    }
}
