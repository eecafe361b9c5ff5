//! Owns that `lbctl bench` measures what it says: every packet of a mix ends as the mix is meant to.
//! Never whether a figure is good.

use lb_tests::cli::Desk;
use serde_json::Value;

const POLICY: &str = "\
lbp 1
set blocked : net = { 192.0.2.0/25, 198.51.100.0/24 }
vip web { address 203.0.113.10; ports tcp 443 }
track flows { idle tcp 5m, udp 30s; half_open 5s; max 100_000 }
limit calm  { per src v4 /32 v6 /64; rate 10_000_000 pkt/s; burst 10_000_000; max 131_072 }
pool app {
  pick maglev 251 by flow; via nat; source 10.0.0.5, 10.0.0.6; ports 1024-65535
  backend a1 10.0.2.11:8443
  backend a2 10.0.2.12:8443
}
side B when src in app
side A otherwise
policy bench { default drop } =
  match {
    from B         -> translate back (invalid -> drop) -> forward
    src in blocked -> drop
    to web         -> limit calm (exceed -> drop) -> web_in
    else           -> pass
  }
tree web_in =
  track flows (full -> drop, invalid -> drop) -> translate app (empty -> drop, ports -> drop) -> forward
";

fn bench(policy: &str) -> Value {
    let desk = Desk::new(&[("p.lbp", policy)]);
    let ran = desk.lbctl(&["bench", "p.lbp", "--rounds", "2", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    serde_json::from_str(&ran.out).expect("JSON")
}

#[test]
fn every_mix_ends_as_it_is_meant_to() {
    let document = bench(POLICY);
    assert_eq!(document["version"], 1);
    assert_eq!(document["missing"], serde_json::json!([]));
    let mixes = document["mixes"].as_array().expect("mixes");
    let ends: Vec<(&str, u64, &Value)> = mixes
        .iter()
        .map(|mix| (mix["mix"].as_str().unwrap(), mix["packets"].as_u64().unwrap(), &mix["ends"]))
        .collect();
    let sent = serde_json::json!(["tx"]);
    assert_eq!(
        ends,
        [
            ("pass-through", 1, &serde_json::json!(["pass"])),
            ("block list, random sources", 65_536, &serde_json::json!(["drop"])),
            ("limit", 65_536, &sent),
            ("tracked flow, forward", 1, &sent),
            ("tracked flow, back", 1, &sent),
            ("new flow", 4_096, &sent),
            ("many flows, forward", 65_536, &sent),
        ]
    );
    // Half of the million that the kernel allows.
    assert!(document["verified_instructions"].as_u64().is_some_and(|count| count < 500_000), "{document}");
}

#[test]
fn what_a_policy_has_no_packets_for_is_said() {
    let document = bench("lbp 1\npolicy p { default drop } = drop\n");
    assert_eq!(document["mixes"], serde_json::json!([]));
    assert_eq!(document["missing"].as_array().map(Vec::len), Some(4), "{document}");
}

/// A flow whose first packet was verified, beside the same one that nobody asks for a certificate.
#[test]
fn certified_flows_are_measured_beside_uncertified_ones() {
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/sessions.lbp");
    let ran = Desk::new(&[]).lbctl(&["bench", policy, "--rounds", "2", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let document: Value = serde_json::from_str(&ran.out).expect("JSON");
    let mixes = document["mixes"].as_array().expect("mixes");
    let ends: Vec<(&str, &Value)> =
        mixes.iter().map(|mix| (mix["mix"].as_str().unwrap(), &mix["ends"])).collect();
    let sent = serde_json::json!(["tx"]);
    assert_eq!(ends[1..], [("the same flow, uncertified", &sent), ("certified flow, forward", &sent)]);
}
