//! Owns what the language has and the packet path cannot carry out yet: every use of it in a policy is refused before
//! anything is lowered. Never judges a policy otherwise, and never looks at what no chain leads to.

use std::collections::BTreeSet;

use policy_lang::diagnostic::{Diagnostic, Severity};
use policy_lang::policy::{
    Chain, DefaultEnd, End, Field, Guard, Policy, Pool, SideId, StageKind, Tail, Test, TreeId, Values, Via,
};
use policy_lang::source::Span;

/// A part of the language that is to come.
#[derive(Clone, Copy, Debug)]
pub struct NotYet {
    code: &'static str,
    what: &'static str,
    help: &'static str,
}

const SYNGUARD: NotYet =
    NotYet { code: "N0502", what: "answering SYNs with cookies (`synguard`)", help: "limit `syn/s` for now" };
const MAPPER: NotYet =
    NotYet { code: "N0503", what: "steering by server name (`mapper`)", help: "match on addresses for now" };
const INTERFACE: NotYet = NotYet {
    code: "N0504",
    what: "naming interfaces (`interface`)",
    help: "tell the sides apart by address for now",
};
const DYNAMIC: NotYet = NotYet {
    code: "N0505",
    what: "matching on a set that is filled at run time (`dynamic`)",
    help: "list the addresses, or read them from a file, for now",
};
const HEALTH: NotYet = NotYet {
    code: "N0507",
    what: "checking the health of backends (`health`)",
    help: "mark a backend `drain` by hand for now",
};
pub const VIA: NotYet = NotYet {
    code: "N0508",
    what: "direct server return (`via l2dsr`, `via ipip`, `via gue`)",
    help: "use `via nat` for now",
};
pub const MAP: NotYet = NotYet { code: "N0510", what: "steering by server name (`map`)", help: LEAVE_OUT };
pub const BAN: NotYet =
    NotYet { code: "N0511", what: "filling a set from the tree (`ban`)", help: LEAVE_OUT };
pub const LOG: NotYet = NotYet { code: "N0512", what: "writing packets to a log (`log`)", help: LEAVE_OUT };
pub const REJECT: NotYet =
    NotYet { code: "N0513", what: "answering with an error (`reject`)", help: "`drop` for now" };
pub const RESET: NotYet =
    NotYet { code: "N0514", what: "answering with a reset (`reply rst`)", help: "`drop` for now" };
const UNWRITTEN: NotYet = NotYet {
    code: "N0517",
    what: "answering with an error from an exit that is not written",
    help: "write the exit, or let the policy's default be `drop`, for now",
};
const IFACE: NotYet = NotYet { code: "N0518", what: "matching on an interface (`iface`)", help: MATCH_OTHER };
const PAYLOAD: NotYet =
    NotYet { code: "N0519", what: "matching on the payload (`payload`)", help: MATCH_OTHER };
const SNI: NotYet = NotYet { code: "N0520", what: "matching on a server name (`sni`)", help: MATCH_OTHER };
pub const COOKIES: NotYet = NotYet { code: "N0522", help: LEAVE_OUT, ..SYNGUARD };

const LEAVE_OUT: &str = "leave the stage out for now";
const MATCH_OTHER: &str = "match on addresses, protocols and ports for now";

impl NotYet {
    pub fn at(self, place: Span) -> Diagnostic {
        Diagnostic {
            code: self.code,
            severity: Severity::Error,
            message: format!("{} is not yet possible", self.what),
            primary: (place, "not yet".to_owned()),
            secondary: Vec::new(),
            reason: Some(
                "it is part of the language, and the packet path cannot carry it out yet".to_owned(),
            ),
            help: Some(self.help.to_owned()),
        }
    }
}

/// What a pool's `via` lacks, if anything.
fn via(via: Via) -> Option<NotYet> {
    match via {
        Via::Nat => None,
        Via::L2dsr | Via::Ipip | Via::Gue { .. } => Some(VIA),
    }
}

/// What an end lacks, if anything.
fn end(end: End) -> Option<NotYet> {
    match end {
        End::Drop | End::Pass | End::Forward | End::ReplyEcho => None,
        End::Reject => Some(REJECT),
        End::ReplyRst => Some(RESET),
    }
}

/// Everything to come that a packet of this policy could meet, in the order of the text. `trees`: those that are
/// reached.
pub fn check(policy: &Policy, trees: &[TreeId]) -> Vec<Diagnostic> {
    let mut walk = Walk { policy, found: Vec::new(), seen: BTreeSet::new(), sides: BTreeSet::new() };
    walk.chain(&policy.root);
    for tree in trees.iter().filter_map(|tree| policy.trees.get(tree.index())) {
        walk.chain(&tree.chain);
    }
    walk.found.sort_by_key(|one| (one.primary.0, one.code));
    walk.found
}

struct Walk<'p> {
    policy: &'p Policy,
    found: Vec<Diagnostic>,
    /// A place that is met from several others is told once.
    seen: BTreeSet<(&'static str, Span)>,
    sides: BTreeSet<SideId>,
}

impl<'p> Walk<'p> {
    fn add(&mut self, lacks: NotYet, place: Span) {
        if self.seen.insert((lacks.code, place)) {
            self.found.push(lacks.at(place));
        }
    }

    fn chain(&mut self, chain: &'p Chain) {
        for stage in &chain.stages {
            self.stage(&stage.kind, stage.span);
            for (name, exit) in stage.kind.exits() {
                if exit.written {
                    self.chain(&exit.chain);
                } else if self.policy.default == DefaultEnd::Reject
                    && self.seen.insert((UNWRITTEN.code, stage.span))
                {
                    let told = UNWRITTEN.at(stage.span);
                    let label = format!("`{name}` is not written");
                    self.found.push(Diagnostic { primary: (stage.span, label), ..told });
                }
            }
        }
        match &chain.tail {
            Tail::End(written, span) => {
                if let Some(lacks) = end(*written) {
                    self.add(lacks, *span);
                }
            }
            Tail::Tree(..) => {}
            Tail::Match(choice) => {
                for arm in &choice.arms {
                    self.guard(&arm.guard);
                    self.chain(&arm.chain);
                }
                self.chain(&choice.otherwise);
            }
            Tail::Every(every) => every.ways.iter().for_each(|way| self.chain(way)),
        }
    }

    fn stage(&mut self, stage: &StageKind, place: Span) {
        let policy = self.policy;
        match stage {
            StageKind::Count { .. }
            | StageKind::Limit { .. }
            | StageKind::Verify { .. }
            | StageKind::Track { .. }
            | StageKind::TranslateBack { .. } => {}
            StageKind::Log { .. } => self.add(LOG, place),
            StageKind::Ban { .. } => self.add(BAN, place),
            StageKind::Map { mapper, .. } => {
                self.add(MAP, place);
                if let Some(mapper) = policy.mappers.get(mapper.index()) {
                    self.add(MAPPER, mapper.span);
                }
            }
            StageKind::Synguard { synguard, .. } => {
                self.add(COOKIES, place);
                if let Some(synguard) = policy.synguards.get(synguard.index()) {
                    self.add(SYNGUARD, synguard.span);
                }
            }
            StageKind::Translate { pool, .. } => {
                if let Some(pool) = policy.pools.get(pool.index()) {
                    self.pool(pool);
                }
            }
        }
    }

    fn pool(&mut self, pool: &Pool) {
        if let Some(lacks) = via(pool.via) {
            self.add(lacks, pool.span);
        }
        if let Some(health) = &pool.health {
            self.add(HEALTH, health.span);
        }
    }

    fn guard(&mut self, guard: &'p Guard) {
        let policy = self.policy;
        match guard {
            Guard::And(parts) | Guard::Or(parts) => parts.iter().for_each(|part| self.guard(part)),
            Guard::Not(inner) => self.guard(inner),
            Guard::Test(test) => self.test(test),
            Guard::To(..) => {}
            Guard::From(side, _) => {
                if !self.sides.insert(*side) {
                    return;
                }
                let Some(side) = policy.sides.get(side.index()) else { return };
                match &side.guard {
                    Some(guard) => self.guard(guard),
                    // `otherwise` is whatever no other side is.
                    None => {
                        let others = policy.sides.iter().filter_map(|other| other.guard.as_ref());
                        others.for_each(|guard| self.guard(guard));
                    }
                }
            }
        }
    }

    fn test(&mut self, test: &Test) {
        let policy = self.policy;
        let lacks = match test.field {
            Field::Iface => Some(IFACE),
            Field::Payload => Some(PAYLOAD),
            Field::Sni => Some(SNI),
            _ => None,
        };
        if let Some(lacks) = lacks {
            self.add(lacks, test.span);
        }
        if let (Field::Iface, Values::Ranges(ranges)) = (test.field, &test.values) {
            for (number, interface) in (1..).zip(&policy.interfaces) {
                if ranges.iter().any(|&(first, last)| first <= number && number <= last) {
                    self.add(INTERFACE, interface.span);
                }
            }
        }
        let named = test.sets.iter().filter_map(|set| policy.sets.get(set.index()));
        if named.into_iter().any(|set| set.dynamic.is_some()) {
            self.add(DYNAMIC, test.span);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
