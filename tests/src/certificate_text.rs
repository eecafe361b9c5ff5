//! Owns policies that are about certificates, as text: every form of `authority`, `verify`, `track { key cert }` and of the
//! picks that go with them, in few enough arms that most packets of a signing client get to them. Never whole policies at
//! random (`policy_text`).

use fastrand::Rng;

use crate::signer::Signer;

/// A policy. The same seed gives the same text.
pub fn certificate_text(seed: u64) -> String {
    let mut rng = Rng::with_seed(seed ^ 0xce47);
    let rng = &mut rng;
    let mut one = |of: &[&str]| of[rng.usize(0..of.len())].to_owned();
    let verify = one(&["verify every packet", "verify once per session", "verify once per session"]);
    let strip = one(&["", "; strip"]);
    let replay = one(&["", "; replay 50ms", "; replay 20s"]);
    // The clock starts on the first day of 2026, and goes on by minutes.
    let until = one(&["", " until 2026-01-01T00:05:00Z", " until 2026-01-01T01:00:00Z", " until 2025-12-31"]);
    let max = one(&["1", "2", "3", "100"]);
    let idle = one(&["2s", "30s", "300s"]);
    let pick = one(&[
        "round-robin",
        "random",
        "source",
        "least-connections",
        "least-connections",
        "hash by cert",
        "maglev 1_009 by flow",
    ]);
    let source = one(&["", "; source 10.9.0.1, fd09::1; ports 20000-20009"]);
    let caps = [one(&["", " max_conn 1"]), one(&["", " max_conn 2", " weight 3"]), one(&["", " drain"])];
    let key = one(&["key cert; ", "key cert; ", ""]);
    let front = one(&["", "limit calm (exceed -> drop) -> "]);
    let guards = one(&[
        "match { cert.id == 1 -> count first -> track flows -> translate game -> forward
       cert.id in 2-9 -> track flows -> translate other -> forward
       else -> pass }",
        "track flows -> translate game -> forward",
        "track flows (full -> count no_room -> drop) -> translate game (empty -> pass) -> forward",
        "pass",
    ]);
    let in_session = one(&["", "flow in flows and cert.id == 2 -> count known -> drop\n  "]);
    let revoked = if one(&["", "", "x"]).is_empty() {
        String::new()
    } else {
        let hash: String = Signer::new(3, 3).hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("; revoked 0x{hash}")
    };
    let [first, second, third] = [1, 2, 3].map(|number| Signer::new(number, number).setting());
    format!(
        "lbp 1

vip front {{ address 203.0.113.10, 2001:db8:f::10; ports udp 8080 }}
limit calm {{ per src v4 /32 v6 /64; rate 20 pkt/s; burst 30; max 1_000 }}
authority devices {{
  {first}
  {second}{until}
  {third}
  {verify}{strip}{replay}{revoked}
  checks 1_000_000 pkt/s; checks_per_source 1_000_000 pkt/s
}}
track flows {{ {key}idle {idle}; max {max} }}
pool game {{ pick {pick}; via nat{source}
  backend g1 10.1.0.1:9000, [fd01::1]:9000{}
  backend g2 10.1.0.2:9000, [fd01::2]:9000{}
  backend g3 10.1.0.3:9000{}
}}
pool other {{ pick round-robin; via nat
  backend o1 10.2.0.1, fd02::1
  backend o2 10.2.0.2
}}
side B when src in game or src in other
side A otherwise

policy certificates {{ default drop }} = match {{
  from B   -> translate back (invalid -> drop) -> forward
  {in_session}to front -> {front}verify devices (missing -> count unsigned -> drop, invalid -> count forged -> drop,
              expired -> count late -> drop, revoked -> count gone -> drop, replayed -> count again -> drop) -> checked
  else     -> drop
}}
tree checked = {guards}
",
        caps[0], caps[1], caps[2]
    )
}
