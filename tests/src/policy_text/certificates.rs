//! Owns what random policies have of certificates: an authority, sessions and pools, and the ways to them. Never other ways.

use std::fmt::Write;

use super::{Author, START};

/// Points of P-256: the generator, and twice it (SEC 2, section 2.4.2).
const KEYS: &str = "key 2 0x036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296
  key 7 0x037cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978";
/// SHA-256 of the first one's uncompressed point.
const REVOKED: &str = "; revoked 698bea63dc44a344663ff1429aea10842df27b6b991ef25866b2c6c02cdcc5be";

impl Author {
    pub(super) fn certificate_items(&mut self) {
        let mode = self.pick(&["every packet", "once per session"]);
        let strip = self.pick(&["", "; strip"]);
        let replay = self.pick(&["", "; replay 200ms", "; replay 5s"]);
        let revoked = self.pick(&["", "", "", REVOKED]);
        let _ = writeln!(
            self.text,
            "authority devices {{\n  {KEYS}\n  verify {mode}{strip}{replay}{revoked}\n}}"
        );
        let (idle, max) = (self.pick(&["500ms", "2s", "30s"]), self.pick(&["1", "2", "64"]));
        let _ = writeln!(self.text, "track sessions {{ key cert; idle {idle}; max {max} }}");
        self.signed_trackers.push("sessions".to_owned());
        let pick = self.pick(&["hash by cert", "round-robin", "least-connections"]);
        let source = self.pick(&["", "; source 10.9.0.8, fd09::8; ports 3000-3003"]);
        let _ = writeln!(self.text, "pool signed {{\n  pick {pick}; via nat{source}");
        for backend in 0..self.rng.u32(1..5) {
            let (weight, cap) = (self.rng.u32(1..4), self.cap());
            let v4 = format!("10.8.0.{}:9000", backend + 1);
            let v6 = if self.rng.bool() { format!(", [fd08::{}]:9000", backend + 1) } else { String::new() };
            let _ = writeln!(self.text, "  backend s{backend} {v4}{v6} weight {weight}{cap}");
        }
        self.text.push_str("}\n");
        self.signed_pools.push("signed".to_owned());
    }

    pub(super) fn cap(&mut self) -> String {
        match self.rng.u32(0..3) {
            0 => format!(" max_conn {}", self.rng.u32(1..4)),
            _ => String::new(),
        }
    }

    pub(super) fn certificate_arms(&mut self, arms: &mut Vec<String>) {
        if self.rng.u32(0..3) == 0 {
            arms.push(format!(
                "flow in sessions and cert.id == {} and ttl == 9 -> drop",
                self.pick(&["2", "7"])
            ));
        }
        let exits = ["missing", "invalid", "expired", "revoked", "replayed"];
        let exits = self.exits(&exits, START);
        let verify = format!("verify devices{exits}");
        let guard = self.pick(&["udp.dport in { 53, 80, 443 }", "proto == udp", "udp.dport != 0"]);
        let tracked = match self.pools.first().cloned() {
            // The certificate is known, and not what the flow goes by.
            Some(pool) if self.rng.u32(0..4) == 0 => {
                format!("track {} -> translate {pool} -> forward", self.trackers[0])
            }
            _ => {
                let (full, empty) =
                    (self.exits(&["full", "invalid"], START), self.exits(&["empty", "ports"], START));
                format!("track sessions{full} -> translate signed{empty} -> forward")
            }
        };
        let chain = match self.rng.u32(0..3) {
            0 => {
                let end = self.end(START);
                let id = self.pick(&["2", "7"]);
                format!(
                    "{verify} -> match {{\n      cert.id == {id} and ttl != 3 -> {tracked}\n      else -> {end}\n    }}"
                )
            }
            _ => format!("{verify} -> {tracked}"),
        };
        let limit = match self.limits.iter().find(|(_, connections)| !connections).cloned() {
            Some((limit, _)) if self.rng.bool() => format!("limit {limit} (exceed -> drop) -> "),
            _ => String::new(),
        };
        arms.push(format!("{guard} -> {limit}{chain}"));
    }
}
