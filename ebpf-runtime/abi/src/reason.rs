//! Owns the reasons for which a packet ends outside of the written tree, with their stable names.
//! Never counts the policy's own drops: those are counters of arms.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// Index into the `REASONS` map.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u32)]
        pub enum Reason { $($(#[$doc])* $variant = $number,)* }

        pub const REASONS: &[(Reason, &str)] = &[$((Reason::$variant, $name),)*];
    };
}

reasons! {
    // Before the tree: what the parser hands out.
    /// ARP, or neighbour discovery (ICMPv6 133–137 with hop limit 255).
    Neighbour = 0, "neighbour";
    /// An ethertype that is neither IPv4, IPv6 nor ARP, LLC included.
    OtherEthertype = 1, "other ethertype";
    /// A first or later fragment, where the policy does not let the tree decide.
    Fragment = 2, "fragment";
    /// Shorter than its Ethernet header or VLAN tag says.
    ShortFrame = 3, "short frame";
    /// More than two VLAN tags.
    VlanDepth = 4, "too many VLAN tags";
    /// Version nibble that contradicts the ethertype.
    IpVersion = 5, "IP version";
    /// IPv4 header: IHL below 5, or header beyond the frame.
    Ipv4Header = 6, "IPv4 header";
    /// Total or payload length beyond the frame or below the header.
    IpLength = 7, "IP length";
    /// IPv6 extension headers: more than 8, more than 256 bytes, truncated, hop-by-hop not first, or routing type 0
    /// with segments left (RFC 5095).
    Ipv6Chain = 8, "IPv6 extension headers";
    /// TCP, UDP, ICMP or ICMPv6 header truncated or with an impossible length.
    Layer4Header = 9, "layer-4 header";
    /// UDP over IPv6 with checksum 0 (RFC 8200, section 8.1).
    Udp6Checksum = 10, "UDP checksum 0 over IPv6";
    /// An IPv6 packet from or to ::ffff:0:0/96, which never is on a wire (RFC 6890, table 20) and would pass for an
    /// IPv4 address in the tables.
    MappedAddress = 11, "IPv4-mapped address over IPv6";

    // At the end of a chain.
    /// `forward` of a packet with TTL or hop limit 1 or 0.
    Ttl = 16, "TTL expired";
    /// `forward` or a reply from or to an address that is never routed.
    Martian = 17, "martian address";
    /// No route, or a blackhole.
    NoRoute = 18, "no route";
    /// The route exists, its neighbour's MAC does not yet.
    NoNeighbour = 19, "neighbour unresolved";
    /// Larger than the MTU of the way out.
    TooBig = 20, "larger than the MTU";
    /// `reply echo` of something that is not an echo request.
    NotEcho = 21, "reply to no echo request";
    /// The bucket of generated answers is empty.
    AnswerLimit = 22, "answers limited";
    /// `translate` of a fragment, or of a protocol without ports.
    Untranslatable = 23, "not translatable";
    /// `translate POOL` of a packet that is a reply of a translated flow.
    WrongDirection = 24, "reply in translate";
    /// A flow whose backend no longer exists, in the midst of a TCP connection.
    BackendGone = 25, "backend gone";
    /// Another CPU took the source port between choice and commit.
    PortRace = 26, "source port race";
    /// The flow table refused the entry.
    FlowTable = 27, "flow table refused";
    /// `reject` or `reply rst` of what never gets an answer: an ICMP error, an RST, a later fragment, a frame to many.
    Unanswerable = 28, "not to be answered";
    /// `reject` of a packet shorter than the answer, which would make us an amplifier.
    AnswerLength = 29, "answer longer than the packet";
    /// More signatures to check than the authority allows, of one source or of all.
    VerifyLimit = 30, "signatures limited";
    /// The queue of packets whose signature is to be checked is full: the newest is dropped.
    VerifyQueue = 31, "signature queue full";
    /// A packet for user space that does not fit a record.
    VerifyLength = 32, "too long to verify";
    /// No room to remember one more signature for `replay`.
    ReplayTable = 33, "replay table full";
    /// A session that could not be written.
    SessionTable = 34, "session table refused";

    // Not drops: what users ask about.
    /// Flow entries that a packet of the other direction had to restore.
    PairRepaired = 40, "flow pair repaired";
    /// Flows moved to the table of proven flows.
    Proven = 41, "flows proven";
    /// Flows that were not moved because their tracker was at its `max`.
    ProvenFull = 42, "proven table full";
    /// `ban` with a set at its `max`: nobody was banned.
    BanFull = 43, "ban set full";
    /// Packets handed to user space to have their signature checked.
    Punted = 44, "signatures to check";
    /// Those among them that were in session and only kept their place in the order.
    PuntedInOrder = 45, "kept in order";

    // Faults of ours: must stay 0.
    /// An image that the program cannot follow.
    BadImage = 48, "image fault";
    /// The image entry or a state entry is missing.
    NoImage = 49, "no image";
    /// More nodes than `image::MAX_STEPS`.
    Steps = 50, "too many steps";
}

pub const REASON_COUNT: usize = 64;

/// Reasons from here on are events, not drops.
pub const FIRST_EVENT: u32 = 40;
/// Reasons from here on are faults of the program or its image; they drop.
pub const FIRST_FAULT: u32 = 48;
