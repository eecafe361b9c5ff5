//! Owns the typed tree: what a policy is once every name is resolved and every value has a type.
//! Never text (but for labels and spans), files, evaluation or lowering.

mod guards;
mod items;
mod proof;

pub use guards::{AddrSet, Field, Guard, NamePattern, Test, Values};
pub use items::{
    Authority, Backend, Certificate, Dynamic, Health, HealthCheck, Interface, Limit, LimitKey, LimitUnit,
    Mapper, MapperProtocol, Pick, Pool, Rate, Set, Side, Synguard, TrackKey, Tracker, Via, Vip, VipPorts,
};
pub use proof::{Assert, Claim, Expect, Goal, Outcome, PacketSpec, ProtoSpec, Signed, Step};

use crate::source::Span;

/// A whole policy, from one file and what it includes. Ids are indices into the vectors here.
#[derive(Clone, Debug)]
pub struct Policy {
    pub name: String,
    pub span: Span,
    /// What an unwritten exit takes.
    pub default: DefaultEnd,
    pub before: BeforeTree,
    pub root: Chain,
    pub trees: Vec<Tree>,
    pub sets: Vec<Set>,
    pub vips: Vec<Vip>,
    pub sides: Vec<Side>,
    pub limits: Vec<Limit>,
    pub trackers: Vec<Tracker>,
    pub pools: Vec<Pool>,
    pub interfaces: Vec<Interface>,
    pub authorities: Vec<Authority>,
    pub synguards: Vec<Synguard>,
    pub mappers: Vec<Mapper>,
    pub expects: Vec<Expect>,
    pub asserts: Vec<Assert>,
}

macro_rules! ids {
    ($($name:ident),*) => {$(
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub u32);
        impl $name { pub fn index(self) -> usize { self.0 as usize } }
    )*};
}
ids!(
    TreeId,
    SetId,
    VipId,
    SideId,
    LimitId,
    TrackerId,
    PoolId,
    InterfaceId,
    AuthorityId,
    SynguardId,
    MapperId
);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultEnd {
    Drop,
    Reject,
}

/// What happens to packets that never reach the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BeforeTree {
    pub neighbours: Before,
    pub unparsed: Before,
    pub other: Before,
    pub fragments: Before,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Before {
    Drop,
    Pass,
    /// The tree decides; only for fragments.
    Match,
}

#[derive(Clone, Debug)]
pub struct Tree {
    pub name: String,
    pub span: Span,
    pub chain: Chain,
}

/// `stage -> stage -> … -> tail`.
#[derive(Clone, Debug)]
pub struct Chain {
    pub stages: Vec<Stage>,
    pub tail: Tail,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum Tail {
    End(End, Span),
    Tree(TreeId, Span),
    Match(Match),
    Every(Every),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    Drop,
    Pass,
    Forward,
    ReplyEcho,
    Reject,
    ReplyRst,
}

#[derive(Clone, Debug)]
pub struct Match {
    pub arms: Vec<Arm>,
    pub otherwise: Box<Chain>,
    /// The word `else`.
    pub otherwise_span: Span,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Arm {
    pub guard: Guard,
    /// The guard as written, white space folded to single blanks.
    pub text: String,
    /// The guard.
    pub span: Span,
    pub chain: Chain,
}

/// `every N { 1 -> … }`: `ways[k]` is taken on turn k (0-based).
#[derive(Clone, Debug)]
pub struct Every {
    pub mode: EveryMode,
    pub ways: Vec<Chain>,
    pub span: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EveryMode {
    Packet,
    Flow,
    Random,
}

#[derive(Clone, Debug)]
pub struct Stage {
    pub kind: StageKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum StageKind {
    Count {
        name: String,
    },
    /// Writes at most so many packets to the log, under a name; the packet goes on either way.
    Log {
        name: String,
        rate: Rate,
    },
    /// Puts the key of the limit whose exit it stands in into a dynamic set.
    Ban {
        set: SetId,
    },
    Limit {
        limit: LimitId,
        exceed: Exit,
    },
    /// Learns the packet's certificate, or leaves by an exit.
    Verify {
        authority: AuthorityId,
        exits: Box<VerifyExits>,
    },
    /// Learns the name that the client asks for, or leaves by an exit.
    Map {
        mapper: MapperId,
        missing: Exit,
        invalid: Exit,
        full: Exit,
    },
    Synguard {
        synguard: SynguardId,
        bad: Exit,
    },
    Track {
        tracker: TrackerId,
        full: Exit,
        invalid: Exit,
    },
    Translate {
        pool: PoolId,
        empty: Exit,
        ports: Exit,
    },
    TranslateBack {
        invalid: Exit,
    },
}

impl StageKind {
    /// The exits, with their names, in the order in which the language lists them.
    pub fn exits(&self) -> Vec<(&'static str, &Exit)> {
        match self {
            StageKind::Count { .. } | StageKind::Log { .. } | StageKind::Ban { .. } => Vec::new(),
            StageKind::Limit { exceed, .. } => vec![("exceed", exceed)],
            StageKind::Verify { exits, .. } => {
                let VerifyExits { missing, invalid, expired, revoked, replayed } = exits.as_ref();
                vec![
                    ("missing", missing),
                    ("invalid", invalid),
                    ("expired", expired),
                    ("revoked", revoked),
                    ("replayed", replayed),
                ]
            }
            StageKind::Map { missing, invalid, full, .. } => {
                vec![("missing", missing), ("invalid", invalid), ("full", full)]
            }
            StageKind::Synguard { bad, .. } => vec![("bad", bad)],
            StageKind::Track { full, invalid, .. } => vec![("full", full), ("invalid", invalid)],
            StageKind::Translate { empty, ports, .. } => vec![("empty", empty), ("ports", ports)],
            StageKind::TranslateBack { invalid } => vec![("invalid", invalid)],
        }
    }
}

impl StageKind {
    /// As `exits`, to be changed.
    pub fn exits_mut(&mut self) -> Vec<&mut Exit> {
        match self {
            StageKind::Count { .. } | StageKind::Log { .. } | StageKind::Ban { .. } => Vec::new(),
            StageKind::Limit { exceed, .. } => vec![exceed],
            StageKind::Verify { exits, .. } => {
                let VerifyExits { missing, invalid, expired, revoked, replayed } = exits.as_mut();
                vec![missing, invalid, expired, revoked, replayed]
            }
            StageKind::Map { missing, invalid, full, .. } => vec![missing, invalid, full],
            StageKind::Synguard { bad, .. } => vec![bad],
            StageKind::Track { full, invalid, .. } => vec![full, invalid],
            StageKind::Translate { empty, ports, .. } => vec![empty, ports],
            StageKind::TranslateBack { invalid } => vec![invalid],
        }
    }
}

/// Where `verify` goes other than on.
#[derive(Clone, Debug)]
pub struct VerifyExits {
    /// The payload does not end in a trailer.
    pub missing: Exit,
    /// The signature is not that of the certificate it names, or the authority has no such certificate.
    pub invalid: Exit,
    /// The certificate is not valid yet, or no longer.
    pub expired: Exit,
    pub revoked: Exit,
    /// The signature was seen before within the authority's replay window.
    pub replayed: Exit,
}

/// Where a stage goes other than on. An unwritten exit has the chain of the policy's default and the stage's span.
#[derive(Clone, Debug)]
pub struct Exit {
    pub chain: Box<Chain>,
    pub written: bool,
    /// The exit's name.
    pub span: Span,
}

impl Policy {
    /// The number of an authority's certificate in `Field::Cert`.
    pub fn certificate_number(&self, authority: AuthorityId, index: usize) -> u32 {
        let before = self.authorities.iter().take(authority.index());
        (before.map(|authority| authority.certificates.len()).sum::<usize>() + index) as u32
    }

    /// Whether a packet can leave the stage by the exit at all, as the item that the stage names is set.
    pub fn can_leave(&self, stage: &StageKind, exit: &str) -> bool {
        match stage {
            StageKind::Translate { pool, .. } if exit == "ports" => {
                self.pools.get(pool.index()).is_some_and(Pool::can_run_out_of_ports)
            }
            StageKind::Verify { authority, .. } => {
                self.authorities.get(authority.index()).is_none_or(|authority| match exit {
                    "expired" => authority.can_expire(),
                    "revoked" => authority.can_be_revoked(),
                    "replayed" => authority.can_be_replayed(),
                    _ => true,
                })
            }
            _ => true,
        }
    }

    /// A stage by its verb and the name it takes: `limit calm`, `translate back`.
    pub fn stage_words(&self, stage: &StageKind) -> String {
        let named = |verb: &str, name: Option<&str>| format!("{verb} {}", name.unwrap_or_default());
        match stage {
            StageKind::Count { name } => named("count", Some(name)),
            StageKind::Log { name, .. } => named("log", Some(name)),
            StageKind::Ban { set } => named("ban", self.sets.get(set.index()).map(|set| &*set.name)),
            StageKind::Limit { limit, .. } => {
                named("limit", self.limits.get(limit.index()).map(|limit| &*limit.name))
            }
            StageKind::Verify { authority, .. } => {
                named("verify", self.authorities.get(authority.index()).map(|authority| &*authority.name))
            }
            StageKind::Map { mapper, .. } => {
                named("map", self.mappers.get(mapper.index()).map(|mapper| &*mapper.name))
            }
            StageKind::Synguard { synguard, .. } => {
                named("synguard", self.synguards.get(synguard.index()).map(|guard| &*guard.name))
            }
            StageKind::Track { tracker, .. } => {
                named("track", self.trackers.get(tracker.index()).map(|tracker| &*tracker.name))
            }
            StageKind::Translate { pool, .. } => {
                named("translate", self.pools.get(pool.index()).map(|pool| &*pool.name))
            }
            StageKind::TranslateBack { .. } => "translate back".to_owned(),
        }
    }
}
