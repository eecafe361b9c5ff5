//! Owns the words for what an image makes the program do, as its text and its users know them. Never how they are shown.

use lb_abi::bundle::Image;
use lb_abi::image::{ALL_FIELDS, Field, OP_VERIFY};
use lb_abi::mode::{
    FEATURE_DST4, FEATURE_DST6, FEATURE_FORWARD, FEATURE_HASH, FEATURE_LOAD, FEATURE_REPLY, FEATURE_SRC4,
    FEATURE_SRC6,
};

use super::op_name;

const FEATURES: [(u32, &str); 8] = [
    (FEATURE_SRC4, "src4"),
    (FEATURE_SRC6, "src6"),
    (FEATURE_DST4, "dst4"),
    (FEATURE_DST6, "dst6"),
    (FEATURE_FORWARD, "forward"),
    (FEATURE_REPLY, "reply"),
    (FEATURE_HASH, "hash"),
    (FEATURE_LOAD, "load"),
];

/// Fields that some region looks at.
pub fn fields(image: &Image) -> Vec<&'static str> {
    ALL_FIELDS.into_iter().filter(|field| image.fields & field.bit() != 0).map(field_name).collect()
}

/// Ops that occur.
pub fn ops(image: &Image) -> Vec<&'static str> {
    (0..=OP_VERIFY).filter(|op| image.ops & 1 << op != 0).map(op_name).collect()
}

/// What the program is specialised to besides (`lb_abi::mode`).
pub fn features(image: &Image) -> Vec<&'static str> {
    FEATURES.iter().filter(|(bit, _)| image.features & bit != 0).map(|(_, name)| *name).collect()
}

pub(super) fn field_name(field: Field) -> &'static str {
    match field {
        Field::Src => "src",
        Field::Dst => "dst",
        Field::Dport => "dport",
        Field::Sport => "sport",
        Field::Proto => "proto",
        Field::TcpFlags => "tcp.flags",
        Field::IcmpType => "icmp.type",
        Field::IcmpCode => "icmp.code",
        Field::Len => "len",
        Field::Ttl => "ttl",
        Field::Dscp => "dscp",
        Field::Vlan => "vlan",
        Field::Frag => "frag",
        Field::Flow => "flow",
        Field::Cert => "cert",
    }
}
