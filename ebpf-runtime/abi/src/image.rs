//! Owns the layout of the image: one array of native-endian `u32` words that holds field tables, decision
//! tables, nodes and pools. Never names a rule or a backend by anything but an offset or an ordinal.
//!
//! All offsets are word offsets from the start of the image. Offset 0 is the header and so never a target.

/// First word of every image: "LBP1".
pub const MAGIC: u32 = 0x3150_424c;

// --- header ---------------------------------------------------------------------------------------------------
pub const H_MAGIC: usize = 0;
pub const H_SCHEMA: usize = 1;
/// Words in use.
pub const H_LEN: usize = 2;
/// Offset of the node where the tree is entered.
pub const H_ENTRY: usize = 3;
/// Verdicts before the tree (`BEFORE_*`).
pub const H_NEIGHBOURS: usize = 4;
pub const H_UNPARSED: usize = 5;
pub const H_OTHER: usize = 6;
pub const H_FRAGMENTS: usize = 7;
/// `H_FIELD + field`: offset of the field's table, 0 if the field is unused. For `Field::Src` and `Field::Dst` this
/// is an *entry word* (see `ENTRY_*`) for IPv4.
pub const H_FIELD: usize = 8;
/// Entry words of the IPv6 tables of `Field::Src` and `Field::Dst`.
pub const H_SRC6: usize = 40;
pub const H_DST6: usize = 41;
pub const HEADER_WORDS: usize = 64;

pub const BEFORE_DROP: u32 = 0;
pub const BEFORE_PASS: u32 = 1;
/// Only for `H_FRAGMENTS`: the tree decides.
pub const BEFORE_MATCH: u32 = 2;

// --- fields and classes ---------------------------------------------------------------------------------------
/// The fields a guard can look at, in the order in which a decision table walks them.
/// A field a packet does not have takes the value `absent()`, one past its domain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
pub enum Field {
    Src = 0,
    Dst = 1,
    /// TCP or UDP destination port.
    Dport = 2,
    Sport = 3,
    /// IPv4 protocol, or the last next-header of the IPv6 chain.
    Proto = 4,
    /// `FLAG_*` of TCP: SYN, ACK, FIN, RST only.
    TcpFlags = 5,
    /// ICMP (v4) or ICMPv6 type; `Proto` tells which.
    IcmpType = 6,
    IcmpCode = 7,
    /// IPv4 total length, or 40 + the IPv6 payload length.
    Len = 8,
    /// TTL or hop limit.
    Ttl = 9,
    Dscp = 10,
    /// VLAN id of the outer tag.
    Vlan = 11,
    /// `FRAG_*`.
    Frag = 12,
    /// 0: no live flow; 1 + t: a live flow of the tracker with dense number t (in the canonical image: ordinal t).
    Flow = 13,
    /// Dense number of the packet's certificate (in the canonical image: its ordinal): the one that `verify` accepted on
    /// its way, else the one that its live flow was begun by.
    Cert = 14,
}

pub const FIELDS: usize = 15;
pub const ALL_FIELDS: [Field; FIELDS] = [
    Field::Src,
    Field::Dst,
    Field::Dport,
    Field::Sport,
    Field::Proto,
    Field::TcpFlags,
    Field::IcmpType,
    Field::IcmpCode,
    Field::Len,
    Field::Ttl,
    Field::Dscp,
    Field::Vlan,
    Field::Frag,
    Field::Flow,
    Field::Cert,
];

pub const FLAG_SYN: u32 = 1;
pub const FLAG_ACK: u32 = 2;
pub const FLAG_FIN: u32 = 4;
pub const FLAG_RST: u32 = 8;

pub const FRAG_NONE: u32 = 0;
pub const FRAG_FIRST: u32 = 1;
pub const FRAG_LATER: u32 = 2;

impl Field {
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Number of values, the absent one not counted. 0 for the addresses, which are tables of their own kind.
    pub const fn domain(self) -> u32 {
        match self {
            Field::Src | Field::Dst => 0,
            Field::Dport | Field::Sport | Field::Len => 65_536,
            Field::Proto | Field::IcmpType | Field::IcmpCode | Field::Ttl => 256,
            Field::TcpFlags => 16,
            Field::Dscp => 64,
            Field::Vlan => 4_096,
            Field::Frag => 3,
            Field::Flow => MAX_TRACKERS as u32 + 1,
            Field::Cert => MAX_CERTIFICATES as u32,
        }
    }

    /// The value of a field the packet does not have.
    pub const fn absent(self) -> u32 {
        self.domain()
    }

    /// Large fields are two-level: `row = T[base + (v >> 8)]`, `class = T[row + (v & 255)]`, with `row` an absolute
    /// offset; rows may be shared. Small ones are direct: `class = T[base + v]`.
    pub const fn two_level(self) -> bool {
        matches!(self, Field::Dport | Field::Sport | Field::Len | Field::Vlan)
    }
}

// Address tables: IPv4 in strides of 16, 8, 8 bits; IPv6 in strides of 16 and then 8 bits at a time.
// Every slot is an entry word. The root is the entry word in the header: a leaf there means that every address of
// the family is of one class; otherwise it is the plain offset of a row of 65,536 entry words.
/// The low 16 bits are the class.
pub const ENTRY_LEAF: u32 = 0x8000_0000;
/// The rest is the offset of a row of 256 classes, one byte each, little-endian in 64 words.
pub const ENTRY_PACKED8: u32 = 0x4000_0000;
/// The rest is the offset of a row of 256 classes, 16 bits each, little-endian in 128 words.
pub const ENTRY_PACKED16: u32 = 0x6000_0000;
/// Neither bit: the offset of a row of 256 entry words.
pub const ENTRY_TAG: u32 = 0x6000_0000;
pub const ENTRY_OFFSET: u32 = 0x1fff_ffff;

// --- nodes ----------------------------------------------------------------------------------------------------
/// A node is `NODE_WORDS` words at an offset that is a multiple of 8. Control words are offsets of nodes.
pub const NODE_WORDS: usize = 8;
/// Longest way from the entry to an end, in nodes; the compiler refuses what is longer.
pub const MAX_STEPS: usize = 32;

/// `OP_*`.
pub const N_OP: usize = 0;
/// Counter to bump on entry: 1 + counter ordinal, 0 for none.
pub const N_COUNTER: usize = 1;
pub const N_NEXT: usize = 2;
pub const N_EXIT_A: usize = 3;
pub const N_EXIT_B: usize = 4;
pub const N_P0: usize = 5;
pub const N_P1: usize = 6;
pub const N_P2: usize = 7;

/// `P0`: mask of fields, `P1`: the root row. For each field of the mask in ascending order the row `cur` leads to
/// the next one by the field's class (`ROW_SPARSE` says how); what is found last is the offset of the next node.
/// A mask of 0 does not occur.
pub const OP_DECIDE: u32 = 0;
/// `P0`: offset of the limit's descriptor (`L_*`). `NEXT`, exit A `exceed`.
pub const OP_LIMIT: u32 = 1;
/// `P0`: `EVERY_*`, `P1`: turn ordinal, `P2`: N. Next node is `T[NEXT + k]` with 0 ≤ k < N.
pub const OP_EVERY: u32 = 2;
/// `P0`: offset of the tracker's descriptor (`T_*`). `NEXT`, exit A `full`, exit B `invalid`.
pub const OP_TRACK: u32 = 3;
/// `P0`: offset of the pool's descriptor (`P_*`). `NEXT`, exit A `empty`, exit B `ports`.
pub const OP_TRANSLATE: u32 = 4;
/// `NEXT`, exit A `invalid`.
pub const OP_TRANSLATE_BACK: u32 = 5;
/// `P0`: `END_*`.
pub const OP_END: u32 = 6;
/// `P0`: offset of the authority's descriptor (`A_*`). `NEXT`; `P1`: offset of `VERIFY_EXITS` words, the nodes of its
/// exits by `VERIFY_*`.
pub const OP_VERIFY: u32 = 7;

pub const VERIFY_MISSING: u32 = 0;
pub const VERIFY_INVALID: u32 = 1;
pub const VERIFY_EXPIRED: u32 = 2;
pub const VERIFY_REVOKED: u32 = 3;
pub const VERIFY_REPLAYED: u32 = 4;
pub const VERIFY_EXITS: usize = 5;

// Rows of a decision table. Without `ROW_SPARSE` in `cur` the row is dense: `next = T[cur + class]`. With it, the row
// at `cur & ROW_OFFSET` holds only the classes that differ from its default, in a table without collisions:
// `cell = ((class * T[row + R_FACTOR]) mod 2^32 >> 16) & T[row + R_MASK]`, and the pair at `row + R_PAIRS + 2 * cell`
// is (class, next) if its first word is the class; else `next = T[row + R_DEFAULT]`.
pub const ROW_SPARSE: u32 = 0x8000_0000;
pub const ROW_OFFSET: u32 = 0x1fff_ffff;
pub const R_DEFAULT: usize = 0;
pub const R_FACTOR: usize = 1;
/// Number of pairs, a power of two, minus one.
pub const R_MASK: usize = 2;
pub const R_PAIRS: usize = 3;
/// First word of a pair that holds nothing.
pub const R_NONE: u32 = 0xffff_ffff;

pub const END_DROP: u32 = 0;
pub const END_PASS: u32 = 1;
pub const END_FORWARD: u32 = 2;
pub const END_REPLY_ECHO: u32 = 3;

pub const EVERY_PACKET: u32 = 0;
pub const EVERY_FLOW: u32 = 1;
pub const EVERY_RANDOM: u32 = 2;

// --- limit descriptor --------------------------------------------------------------------------------
/// Limit ordinal (dense number of the instance after relocation).
pub const L_ID: usize = 0;
/// `LIMIT_*`: what one unit is.
pub const L_UNIT: usize = 1;
/// `LIMIT_KEY_*`.
pub const L_KEY: usize = 2;
/// Prefix lengths applied to the key address.
pub const L_V4: usize = 3;
pub const L_V6: usize = 4;
/// Emission interval of one packet, connection or byte in 1/64 ns: low word, high word.
pub const L_INTERVAL: usize = 5;
/// Burst × interval in 1/64 ns: low word, high word.
pub const L_BURST: usize = 7;
pub const LIMIT_WORDS: usize = 16;

pub const LIMIT_PACKETS: u32 = 0;
/// Bytes from the IP header on.
pub const LIMIT_BYTES: u32 = 1;
/// TCP segments with SYN and without ACK; everything else passes uncounted.
pub const LIMIT_SYNS: u32 = 2;
/// As `LIMIT_SYNS` for TCP; for other protocols packets without a live flow.
pub const LIMIT_CONNS: u32 = 3;

pub const LIMIT_KEY_NONE: u32 = 0;
pub const LIMIT_KEY_SRC: u32 = 1;
pub const LIMIT_KEY_DST: u32 = 2;

/// Sub-units of a nanosecond in which limits count: 2^6.
pub const LIMIT_SHIFT: u32 = 6;

// --- tracker descriptor ------------------------------------------------------------------------------
/// Tracker ordinal (dense number of the instance after relocation).
pub const T_ID: usize = 0;
/// Idle times in ticks (`maps::TICK_SHIFT`).
pub const T_IDLE_TCP: usize = 1;
pub const T_IDLE_UDP: usize = 2;
pub const T_HALF_OPEN: usize = 3;
/// Greatest number of proven flows; with `TRACK_CERTIFICATE`, of live sessions.
pub const T_MAX: usize = 4;
/// `TRACK_*`.
pub const T_FLAGS: usize = 5;
/// With `TRACK_CERTIFICATE`: how many certificates there are in all that could have a session. While `T_MAX` is no
/// less, sessions need not be counted.
pub const T_CERTIFICATES: usize = 6;
pub const TRACKER_WORDS: usize = 8;
pub const MAX_TRACKERS: usize = 63;

/// `key cert`: a session for each certificate, and at most `SESSION_FLOWS * T_MAX` flows.
pub const TRACK_CERTIFICATE: u32 = 1;
pub const SESSION_FLOWS: u64 = 4;

// --- pool descriptor --------------------------------------------------------------------------------
/// Pool ordinal (dense number of the instance after relocation).
pub const P_ID: usize = 0;
/// `PICK_*`: where the index into the slot table comes from.
pub const P_PICK: usize = 1;
/// Slot tables by family: offset and number of slots (0: no usable backend of that family).
/// A slot holds the offset of a word that holds 1 + the backend's dense number.
pub const P_SLOTS4: usize = 2;
pub const P_SLOTS4_LEN: usize = 3;
pub const P_SLOTS6: usize = 4;
pub const P_SLOTS6_LEN: usize = 5;
/// Source addresses by family: offset and number of addresses (4 words each, IPv4 mapped as in `maps::Addr`).
/// 0 addresses: the client's address and port stay.
pub const P_SOURCES4: usize = 6;
pub const P_SOURCES4_LEN: usize = 7;
pub const P_SOURCES6: usize = 8;
pub const P_SOURCES6_LEN: usize = 9;
/// First source port and how many follow, it included.
pub const P_PORT_FIRST: usize = 10;
pub const P_PORT_COUNT: usize = 11;
/// `VIA_*`.
pub const P_VIA: usize = 12;
/// Backends that can be picked, by family, in the order written: offset and number of rows of `B_*`.
pub const P_BACKENDS4: usize = 13;
pub const P_BACKENDS4_LEN: usize = 14;
pub const P_BACKENDS6: usize = 15;
pub const P_BACKENDS6_LEN: usize = 16;
pub const POOL_WORDS: usize = 24;
/// Most backends of a pool that can be picked in one family.
pub const MAX_PICKED: usize = 1_024;

// --- a pool's backend ---------------------------------------------------------------------------------
/// Offset of the word that holds 1 + the dense number of its address of this family, as in the slot tables.
pub const B_NUMBER: usize = 0;
/// Likewise for its address of the other family, 0 without one: its connections count as well.
pub const B_OTHER: usize = 1;
/// At least 1.
pub const B_WEIGHT: usize = 2;
/// Connections at once; 0: as many as come.
pub const B_MAX_CONN: usize = 3;
pub const BACKEND_WORDS: usize = 4;

/// `pool counter % slots`, the counter shared by all CPUs.
pub const PICK_ROUND_ROBIN: u32 = 0;
/// `draw % slots`.
pub const PICK_RANDOM: u32 = 1;
/// Keyed hash of the source address, scaled to the slots.
pub const PICK_SOURCE: u32 = 2;
/// Keyed hash of the flow, scaled to the slots.
pub const PICK_FLOW: u32 = 3;
/// Keyed hash of the packet's certificate, scaled to the slots.
pub const PICK_CERTIFICATE: u32 = 4;
/// No slot: of the backends that can be picked, the one with the fewest connections for its weight.
pub const PICK_LEAST: u32 = 5;

pub const VIA_NAT: u32 = 0;

/// How many source ports are tried for a new flow before the stage leaves by `ports`.
pub const PORT_TRIES: u32 = 16;

// --- authority descriptor -----------------------------------------------------------------------------
/// Ordinal of the authority in `bundle::Image::authorities`.
pub const A_ID: usize = 0;
/// `AUTHORITY_*`.
pub const A_FLAGS: usize = 1;
/// Offset of 256 words: 1 + the dense number of the certificate with this id, 0 without one.
pub const A_CERTIFICATES: usize = 2;
/// Signatures handed to user space: emission interval and tolerance in 1/64 ns (low word, high word), for each source
/// (an IPv4 address, an IPv6 /64) and for all together.
pub const A_SOURCE_INTERVAL: usize = 4;
pub const A_SOURCE_BURST: usize = 6;
pub const A_ALL_INTERVAL: usize = 8;
pub const A_ALL_BURST: usize = 10;
pub const AUTHORITY_WORDS: usize = 16;

/// `verify once per session`.
pub const AUTHORITY_ONCE: u32 = 1;
/// The trailer is cut off what is forwarded.
pub const AUTHORITY_STRIP: u32 = 2;

/// Ids of an authority's certificates.
pub const AUTHORITY_IDS: usize = 256;
/// Most certificates of a policy, and dense numbers there are for them: those of the policy before it keep theirs.
pub const MAX_POLICY_CERTIFICATES: usize = 512;
pub const MAX_CERTIFICATES: usize = 1_024;
