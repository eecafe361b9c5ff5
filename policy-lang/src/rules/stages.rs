//! Owns what is wrong with a stage where it stands, by what is known of the packets that come to it. Never how that is
//! known, nor what follows in other chains.

use super::known::Known;
use super::protocols::{Kinds, NONE, OTHER, TCP, UDP, V4, V6};
use crate::policy::{
    AuthorityId, LimitId, LimitUnit, Pick, Policy, PoolId, Stage, StageKind, SynguardId, TrackKey, TrackerId,
    Via,
};
use crate::report::Report;
use crate::source::Span;

/// A stage, and what is known of the packets that come to it.
pub(super) struct Site<'a> {
    pub policy: &'a Policy,
    pub known: Known,
    pub stage: &'a Stage,
    /// A tracker follows on some way from here.
    pub is_tracked_later: bool,
}

impl Site<'_> {
    pub fn check(&self, report: &mut Report) {
        match &self.stage.kind {
            StageKind::Limit { limit, .. } => self.limit(*limit, report),
            StageKind::Ban { .. } => self.ban(report),
            StageKind::Verify { authority, .. } => self.verify(*authority, report),
            StageKind::Map { .. } => self.map(report),
            StageKind::Synguard { synguard, .. } => self.synguard(*synguard, report),
            StageKind::Track { tracker, .. } => self.track(*tracker, report),
            StageKind::Translate { pool, empty, .. } => {
                self.translate(*pool, report);
                if !empty.written {
                    self.may_be_empty(*pool, report);
                }
            }
            StageKind::Count { .. } | StageKind::Log { .. } | StageKind::TranslateBack { .. } => {}
        }
    }

    fn limit(&self, id: LimitId, report: &mut Report) {
        let Some(limit) = self.policy.limits.get(id.index()) else { return };
        let (kinds, place) = (self.known.kinds, self.stage.span);
        let counts_flows = limit.unit == LimitUnit::Connections;
        if counts_flows && kinds.without(TCP) != NONE && !self.is_tracked_later && !self.known.tracked {
            report
                .error("E0411", place, "this limit counts connections that nothing tracks")
                .because(
                    "outside of TCP, `conn/s` counts packets that the tracker behind it does not know, and none \
                     follows",
                )
                .help("let `track T` follow, ask for `proto == tcp` first, or limit `pkt/s`");
        }
        if limit.unit == LimitUnit::Syns && !kinds.meets(TCP) && !kinds.is_none() {
            report
                .warning("W0434", place, "this limit counts SYNs, and no TCP packet gets here")
                .also(limit.span, "declared here")
                .because("a limit of `syn/s` lets all other packets through")
                .help("limit `pkt/s` or `conn/s`");
        }
    }

    /// A forged source would be banned in the place of the one that forges it.
    fn ban(&self, report: &mut Report) {
        if self.known.unproven.is_none() {
            return;
        }
        let which = match (self.known.unproven.meets(TCP), self.known.unproven.meets(UDP.or(OTHER))) {
            (true, false) => "TCP packets",
            (false, true) => "packets without a connection",
            _ => "packets",
        };
        report
            .warning("W0431", self.stage.span, "this bans a source that nothing has proven")
            .because(format!("the source of {which} that get here can be forged, and a forged source bans its victim"))
            .help("let `synguard` (for TCP) or `verify` stand in front of the limit, or ask for `flow in T` first");
    }

    /// A stage that looks into packets of one protocol only.
    fn never_gets(&self, verb: &str, protocol: &str, kinds: Kinds, report: &mut Report) {
        if self.known.kinds.meets(kinds) || self.known.kinds.is_none() {
            return;
        }
        let why = match verb {
            "synguard" => "it answers SYNs, and lets all other packets through",
            "verify" => "a certificate's signature stands at the end of a UDP payload",
            _ => "names are learned from DTLS and QUIC: the SYN that opens a TCP connection has none yet",
        };
        let cure = match verb {
            "map" => "choose by vip or port instead, and let a proxy behind the pool read the name",
            _ => "remove the stage, or move it to where such packets come",
        };
        report
            .error("E0432", self.stage.span, format!("no {protocol} packet gets to this `{verb}`"))
            .because(why)
            .help(cure);
    }

    fn verify(&self, id: AuthorityId, report: &mut Report) {
        self.never_gets("verify", "UDP", UDP, report);
        self.verifies_too_late(report);
        let Some(authority) = self.policy.authorities.get(id.index()) else { return };
        if !authority.every_packet && !self.is_tracked_later && !self.known.tracked {
            report
                .warning("W0411", self.stage.span, "nothing keeps the session that is verified once")
                .also(authority.span, "`verify once per session`")
                .because("a session lasts as long as a tracker knows its flow; without one, each packet is verified")
                .help("let `track T` follow, or write `verify every packet`");
        }
    }

    /// A packet whose signature is checked leaves the tree at its `verify` and comes back there: only its tracker is known
    /// then, and is asked again.
    fn verifies_too_late(&self, report: &mut Report) {
        let (first, what, cure) = match (self.known.translation, self.known.verified) {
            (Some(first), _) => {
                (first, "a `verify` behind a translation", "let `verify` stand in front of it")
            }
            (None, Some(first)) => (
                first,
                "a second `verify` on one way",
                "keep one of the two, or let the second stand in an exit of the first",
            ),
            (None, None) => return,
        };
        report
            .error("E0435", self.stage.span, what)
            .also(first, "what this packet has passed before")
            .because(
                "the packet waits here for its signature to be checked, and of what was planned for it only the tracker \
                 is kept",
            )
            .help(cure);
    }

    fn map(&self, report: &mut Report) {
        self.never_gets("map", "UDP", UDP, report);
        if self.known.kinds.meets(UDP) && self.known.kinds.meets(TCP) {
            report
                .warning("W0430", self.stage.span, "TCP packets get to this `map`, and have no name")
                .because(
                    "the SYN that opens a TCP connection has no name yet, and its backend is picked for that packet: \
                     they take the exit `missing`",
                )
                .help("ask for `proto == udp` first; for TLS over TCP, give each name a vip of its own");
        }
    }

    fn synguard(&self, id: SynguardId, report: &mut Report) {
        self.never_gets("synguard", "TCP", TCP, report);
        if let Some(direct) = self.known.direct {
            self.guards_direct(self.stage.span, direct, report);
        }
        let Some(guard) = self.policy.synguards.get(id.index()) else { return };
        if let Some(bound) =
            self.known.bound.filter(|bound| bound.is_within(guard.above.count, guard.above.per))
        {
            report
                .warning("W0436", self.stage.span, "this synguard never starts")
                .also(bound.place, "no more than this gets through here")
                .also(guard.span, "and it starts above that")
                .help("let the synguard stand in front of the limit, or start at a lower rate");
        }
    }

    /// Rule 8: behind a cookie the balancer has chosen the sequence number, which it has to add to each later packet.
    fn guards_direct(&self, place: Span, other: Span, report: &mut Report) {
        report
            .error("E0433", place, "a synguard and a pool without NAT on one way")
            .also(other, "the other one")
            .because(
                "the backend answers the client itself, with another sequence number than the cookie's; only NAT \
                 sees both directions and can turn one into the other",
            )
            .help("reach the pool by `via nat`, or `limit` its SYNs instead");
    }

    fn track(&self, id: TrackerId, report: &mut Report) {
        let by_certificate =
            self.policy.trackers.get(id.index()).is_some_and(|one| one.key == TrackKey::Certificate);
        if by_certificate && !self.known.learned.certificate {
            self.no_certificate("this tracker knows packets by their certificate", report);
        }
    }

    fn no_certificate(&self, what: &str, report: &mut Report) {
        report
            .error("E0431", self.stage.span, format!("{what}, and it is not known here"))
            .because("it is learned by `verify`, and not every way that leads here has one")
            .help("let `verify AUTHORITY (…) ->` stand in front on every way");
    }

    fn translate(&self, id: PoolId, report: &mut Report) {
        let Some(pool) = self.policy.pools.get(id.index()) else { return };
        let place = self.stage.span;
        // Without NAT nothing has to be remembered.
        if !self.known.tracked && pool.via == Via::Nat {
            report
                .error("E0405", place, "this `translate` has no tracker in front of it")
                .because("NAT takes its timeouts and its size from the tracker that has run before")
                .help(
                    "put `track T (full -> drop, invalid -> drop) ->` in front, on every way that leads here",
                );
        }
        if let Some(synguard) = self.known.synguard.filter(|_| pool.via != Via::Nat) {
            self.guards_direct(place, synguard, report);
        }
        if pool.pick == Pick::Certificate && !self.known.learned.certificate {
            self.no_certificate("this pool picks by certificate", report);
        }
    }

    fn may_be_empty(&self, id: PoolId, report: &mut Report) {
        let Some(pool) = self.policy.pools.get(id.index()) else { return };
        let usable = || pool.backends.iter().filter(|backend| !backend.drain && backend.weight > 0);
        let (v4, v6) =
            (usable().any(|backend| backend.v4.is_some()), usable().any(|backend| backend.v6.is_some()));
        for (has, family, name) in [(v4, V4, "IPv4"), (v6, V6, "IPv6")] {
            if !has && self.known.kinds.and(family).without(OTHER) != NONE {
                report
                    .warning(
                        "W0406",
                        self.stage.span,
                        format!("{name} packets get here, and `{}` has no {name} backend", pool.name),
                    )
                    .because("they take the exit `empty`, which is not written")
                    .help("write `(empty -> drop)`, or give the pool backends of that family");
            }
        }
    }
}
