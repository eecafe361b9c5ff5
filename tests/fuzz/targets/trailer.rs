//! Owns the fuzzing of certificate trailers: whatever stands in a UDP payload, evaluator and tables agree, and nothing gets
//! through that its certificate has not signed. Never a kernel.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use compiler::eval::{Evaluator, State, Verdict};
use compiler::packet::{build, test_public_key, trailer};
use compiler::tables;
use lb_abi::bundle::Image;
use libfuzzer_sys::fuzz_target;
use policy_lang::policy::{PacketSpec, Policy, ProtoSpec};

/// The corpus is signed for these, by the keys that stand in for them in tests.
const POLICY: &str = "lbp 1
authority devices {
  key 2 0x036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296
  key 7 0x037cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978
  verify once per session; strip; replay 30s
}
track sessions { key cert; idle 10s; max 9 }
pool game { via nat; pick hash by cert; backend g1 10.0.0.1:9000; backend g2 10.0.0.2:9000 max_conn 1 }
policy p { default drop } = match {
  src in game -> translate back (invalid -> drop) -> forward
  else        -> verify devices -> track sessions -> translate game -> forward
}
";

struct NoFiles;

impl policy_lang::source::Loader for NoFiles {
    fn load(&self, _: &std::path::Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

fn sound() -> &'static (Policy, Image) {
    static SOUND: OnceLock<(Policy, Image)> = OnceLock::new();
    SOUND.get_or_init(|| {
        let checked = policy_lang::check("p.lbp", POLICY.to_owned(), &NoFiles);
        let policy = checked.policy.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
        let image =
            compiler::compile(&policy, &checked.sources).unwrap_or_else(|refused| panic!("{refused:?}"));
        (policy, image)
    })
}

fn is_signed(policy: &Policy, payload: &[u8]) -> bool {
    trailer(payload).is_some_and(|(signed, trailer)| {
        policy.authorities.iter().flat_map(|authority| &authority.certificates).any(|certificate| {
            trailer.reserved == [0; 3]
                && certificate.id == trailer.id
                && certificate.hash == trailer.hash
                && trailer.is_signed_by(&test_public_key(&certificate.hash), signed)
        })
    })
}

fuzz_target!(|payload: &[u8]| {
    let (policy, image) = sound();
    let [client, vip] = [1, 2].map(|host| IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)));
    let spec = PacketSpec {
        payload: payload.to_vec(),
        ..PacketSpec::new(client, vip, ProtoSpec::Udp { sport: 5, dport: 8080 })
    };
    let frame = build(&spec);
    let evaluator = Evaluator::new(policy);
    let [mut by_tree, mut by_tables] = [0, 0].map(|_| {
        let mut state = State::new([1, 2]);
        state.test_keys = true;
        state
    });
    // Once more, to be in session or a replay.
    for round in 0..2 {
        let (tree, table) = (evaluator.run(&mut by_tree, &frame), tables::run(image, &mut by_tables, &frame));
        assert_eq!((tree.verdict, &tree.frame), (table.verdict, &table.frame), "round {round}");
        assert_eq!(tree.verdict == Verdict::Forward, is_signed(policy, payload), "round {round}");
    }
});
