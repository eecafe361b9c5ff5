//! Owns what the stages have planned for the packet: nothing of it is written before the end is `forward`.
//! Never carries it out; `commit.rs` and `rewrite.rs` do.

use lb_abi::{
    image::{OP_VERIFY, T_HALF_OPEN, T_ID, T_IDLE_TCP, T_IDLE_UDP, T_MAX},
    maps::{FlowKey, NextHop},
    reason::Reason,
};

use crate::{image::Image, maps::op_occurs};

/// The tracker that the packet passed last; `id` is 0 for none, else 1 + its dense number.
#[repr(C)]
pub struct Tracker {
    pub id: u32,
    /// Idle times in ticks.
    pub idle_tcp: u32,
    pub idle_udp: u32,
    pub half_open: u32,
    /// Greatest number of proven flows.
    pub max: u32,
    /// Offset of its descriptor.
    pub at: u32,
}

impl Tracker {
    #[inline(always)]
    pub fn read(&mut self, image: &Image, descriptor: u32) {
        self.id = image.word(descriptor.wrapping_add(T_ID as u32)).wrapping_add(1);
        self.idle_tcp = image.word(descriptor.wrapping_add(T_IDLE_TCP as u32));
        self.idle_udp = image.word(descriptor.wrapping_add(T_IDLE_UDP as u32));
        self.half_open = image.word(descriptor.wrapping_add(T_HALF_OPEN as u32));
        self.max = image.word(descriptor.wrapping_add(T_MAX as u32));
        self.at = descriptor;
    }
}

/// `Plan::flow`.
pub const FLOW_NONE: u32 = 0;
pub const FLOW_STARTS: u32 = 1;
pub const FLOW_KNOWN: u32 = 2;

/// `Plan::leaves`: as it came; with the tuple of its flow; with that of a new flow.
pub const LEAVES_AS_IS: u32 = 0;
pub const LEAVES_KEPT: u32 = 1;
pub const LEAVES_NEW: u32 = 2;

#[repr(C)]
pub struct Plan {
    pub tracker: Tracker,
    pub flow: u32,
    /// A known flow's next state, FINs seen, and whether `isn` goes into its original entry.
    pub state: u32,
    pub fins: u32,
    pub sets_isn: u32,
    pub isn: u32,
    pub leaves: u32,
    /// The tuple that the packet leaves with, unless it leaves as it came.
    pub out: FlowKey,
    /// 1 + dense numbers, and the backend's identity.
    pub pool: u32,
    pub backend: u32,
    pub identity: u32,
    /// The next hop, and 1 if the routing table was asked for it just now.
    pub hop: NextHop,
    pub asked: u32,
    /// 1 + the number of the certificate that `verify` accepted, 0 for none; and not 0 if the trailer is to be cut off.
    pub cert: u32,
    pub strip: u32,
    /// 1 + the number of the certificate whose session with the tracker it is, 0 if the tracker has none.
    pub session: u32,
}

impl Plan {
    #[inline(always)]
    pub fn reset(&mut self) {
        self.tracker.id = 0;
        self.flow = FLOW_NONE;
        self.leaves = LEAVES_AS_IS;
        self.pool = 0;
        self.backend = 0;
        self.identity = 0;
        self.asked = 0;
        if op_occurs(OP_VERIFY) {
            self.cert = 0;
            self.strip = 0;
        }
    }
}

/// Where a stage sends the packet, as one word, since a function of its own can return no more: `NEXT`, `EXIT_A`,
/// `EXIT_B`, or a drop with its reason.
pub const NEXT: u32 = 0;
pub const EXIT_A: u32 = 1;
pub const EXIT_B: u32 = 2;
const DROP: u32 = 0x100;

#[inline(always)]
pub const fn drop(reason: Reason) -> u32 {
    DROP + reason as u32
}

/// The reason's number, if it is a drop.
#[inline(always)]
pub fn dropped(way: u32) -> Option<u32> {
    if way >= DROP { Some(way - DROP) } else { None }
}
