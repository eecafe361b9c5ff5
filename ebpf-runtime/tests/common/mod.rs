//! Images written by hand, for the tests of the kernel side. Needs root, as these tests do.

use lb_abi::SCHEMA;
use lb_abi::bundle::{Counter, Dense, Image, Relocation, Tally, TallyKind};
use lb_abi::image::*;

fn tally(identity: u64, label: &str) -> Tally {
    Tally {
        identity,
        kind: TallyKind::Arm,
        label: label.to_owned(),
        tree: "main".to_owned(),
        file: "policy.lbp".to_owned(),
        line: 1,
    }
}

/// One chain: a node for each counter of `counted`, then `end`. Each counter has a tally.
///
/// What leads from node to node is a decision over one class of `Field::Frag`.
pub fn counting(counted: &[u64], end: u32) -> Image {
    let mut words = vec![0; HEADER_WORDS];
    words[H_MAGIC] = MAGIC;
    words[H_SCHEMA] = SCHEMA;
    words[H_NEIGHBOURS] = BEFORE_PASS;
    words[H_FIELD + Field::Frag as usize] = words.len() as u32;
    words.extend([0; 8]);
    words[H_ENTRY] = words.len() as u32;
    let mut image = Image {
        name: "counting".to_owned(),
        fields: Field::Frag.bit(),
        ops: 1 << OP_END | 1 << OP_DECIDE,
        ..Image::default()
    };
    for (ordinal, identity) in counted.iter().enumerate() {
        let at = words.len();
        let mut node = [0; 2 * NODE_WORDS];
        node[N_OP] = OP_DECIDE;
        node[N_COUNTER] = 1 + ordinal as u32;
        node[N_P0] = Field::Frag.bit();
        node[N_P1] = (at + NODE_WORDS) as u32;
        // The row: its one class leads to the node behind it.
        node[NODE_WORDS] = (at + node.len()) as u32;
        words.extend(node);
        image.relocations.push(Relocation { word: (at + N_COUNTER) as u32, kind: Dense::Counter });
        image.counters.push(Counter { identity: *identity, tallies: vec![ordinal as u32] });
        image.tallies.push(tally(1000 + identity, &format!("arm {identity}")));
    }
    let mut node = [0; NODE_WORDS];
    node[N_OP] = OP_END;
    node[N_P0] = end;
    words.extend(node);
    words[H_LEN] = words.len() as u32;
    image.words = words;
    image
}
