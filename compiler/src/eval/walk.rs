//! Owns the way of one packet through the typed tree, arm by arm, and the record of it. Never what a stage or an end
//! does: `stages` says that.

use std::cell::OnceCell;

use lb_abi::reason::{REASONS, Reason};
use policy_lang::policy::{
    Chain, End, Every, InterfaceId, LimitId, Match, Policy, PoolId, Set, Stage, StageKind, Tail, Via,
};
use policy_lang::source::Span;

use super::guards::{Sight, certificate};
use super::params::{self, Tables};
use super::stages::{self, Guarding, Plan, PoolParams, Standing, TrackParams, VerifyParams, Way};
use super::{Answer, Ended, PathStep, Run, State, StepKind, Verdict};
use crate::expect::{end_word, ip};
use crate::packet::Fields;

/// A policy ready to judge packets; holds the pools' slot tables once they were needed.
pub struct Evaluator<'p> {
    policy: &'p Policy,
    pools: Vec<OnceCell<Tables>>,
    /// There is a pool whose backends answer the clients themselves.
    has_one_way: bool,
}

impl<'p> Evaluator<'p> {
    pub fn new(policy: &'p Policy) -> Evaluator<'p> {
        Evaluator {
            policy,
            pools: policy.pools.iter().map(|_| OnceCell::new()).collect(),
            has_one_way: policy.pools.iter().any(|pool| pool.via != Via::Nat),
        }
    }

    /// What one frame from a device that no `interface` names meets, and what becomes of the state.
    pub fn run(&self, state: &mut State, frame: &[u8]) -> Run {
        self.run_from(state, frame, None)
    }

    /// The same for a frame that came in by a device of an interface.
    pub fn run_from(&self, state: &mut State, frame: &[u8], iface: Option<InterfaceId>) -> Run {
        let mut counted = Vec::new();
        let fields = match stages::before(&self.policy.before, frame, &mut counted) {
            Ok(fields) => fields,
            Err(ended) => {
                let text = ended.reason.map_or("", name).to_owned();
                let step = PathStep::new(StepKind::Before, Some(self.policy.span), text);
                return Run::new(ended, counted, vec![step]);
            }
        };
        let mut plan = Plan::default();
        let standing = stages::spliced(state, frame, &fields, &mut plan);
        let mut walk = Walk {
            of: self,
            state,
            frame,
            fields,
            standing,
            iface: iface.map_or(0, |iface| iface.0 + 1),
            exceeded: None,
            plan,
            counted,
            logged: Vec::new(),
            path: Vec::new(),
        };
        let ended = walk.chain(&self.policy.root);
        let (counted, logged, path) = (walk.counted, walk.logged, walk.path);
        Run { logged, ..Run::new(ended, counted, path) }
    }

    fn pool(&self, id: PoolId) -> Option<&Tables> {
        let pool = self.policy.pools.get(id.index())?;
        Some(self.pools.get(id.index())?.get_or_init(|| params::pool(self.policy, id, pool)))
    }
}

fn name(reason: Reason) -> &'static str {
    REASONS.iter().find(|(listed, _)| *listed == reason).map_or("", |(_, name)| name)
}

struct Walk<'a, 'p> {
    of: &'a Evaluator<'p>,
    state: &'a mut State,
    frame: &'a [u8],
    fields: Fields,
    /// What limits, `track`, `translate` and `forward` see in the place of the packet.
    standing: Option<Standing>,
    /// 1 + id of the interface it came in by.
    iface: u32,
    /// The limit that was left by its exit last.
    exceeded: Option<LimitId>,
    plan: Plan,
    counted: Vec<Reason>,
    logged: Vec<String>,
    path: Vec<PathStep>,
}

impl<'p> Walk<'_, 'p> {
    fn note(&mut self, kind: StepKind, span: Span, text: impl Into<String>) {
        self.path.push(PathStep::new(kind, Some(span), text));
    }

    fn chain(&mut self, chain: &'p Chain) -> Ended {
        for (place, stage) in (1..).zip(&chain.stages) {
            let behind = Behind { stages: chain.stages.get(place..).unwrap_or_default(), tail: &chain.tail };
            match self.stage(stage, behind) {
                Next::On => {}
                Next::Exit(chain) => return self.chain(chain),
                Next::Ended(ended) => return ended,
                Next::Drop(reason) => {
                    self.note(StepKind::Refused, stage.span, name(reason));
                    self.counted.push(reason);
                    return Ended::dropped(Some(reason));
                }
            }
        }
        match &chain.tail {
            Tail::End(end, span) => self.end(*end, *span),
            Tail::Tree(id, span) => match self.of.policy.trees.get(id.index()) {
                Some(tree) => {
                    self.note(StepKind::Tree, *span, &tree.name);
                    self.chain(&tree.chain)
                }
                None => Ended::dropped(Some(Reason::BadImage)),
            },
            Tail::Match(arms) => self.arms(arms),
            Tail::Every(every) => self.every(every),
        }
    }

    fn end(&mut self, end: End, span: Span) -> Ended {
        let (frame, fields) = match &self.standing {
            Some(standing) if end == End::Forward => (&standing.frame[..], standing.fields),
            _ => (self.frame, self.fields),
        };
        let ended = stages::end(self.state, end, frame, &fields, &self.plan, &mut self.counted);
        self.note(StepKind::End, span, end_word(end));
        if let Some(reason) = ended.reason {
            self.note(StepKind::Refused, span, name(reason));
        }
        ended
    }

    fn arms(&mut self, arms: &'p Match) -> Ended {
        for arm in &arms.arms {
            let sight = Sight {
                policy: self.of.policy,
                state: self.state,
                fields: &self.fields,
                frame: self.frame,
                iface: self.iface,
                learned: &self.plan.learned,
            };
            let mut looked_at = Vec::new();
            let held = sight.holds(&arm.guard, &mut looked_at);
            self.path.append(&mut looked_at);
            if held {
                self.note(StepKind::Arm, arm.span, &arm.text);
                return self.chain(&arm.chain);
            }
        }
        self.note(StepKind::Else, arms.otherwise_span, "else");
        self.chain(&arms.otherwise)
    }

    fn every(&mut self, every: &'p Every) -> Ended {
        let turn = u64::from(every.span.file.0) << 32 | u64::from(every.span.start);
        let way = stages::every(self.state, turn, every.mode, every.ways.len() as u32, &self.fields);
        self.note(StepKind::Turn(way + 1), every.span, format!("every {}", every.ways.len()));
        match every.ways.get(way as usize) {
            Some(chain) => self.chain(chain),
            None => Ended::dropped(Some(Reason::BadImage)),
        }
    }

    fn stage(&mut self, stage: &'p Stage, behind: Behind<'_>) -> Next<'p> {
        let policy = self.of.policy;
        let mut seen = String::new();
        let (way, text, exits) = match &stage.kind {
            StageKind::Count { name } => (Way::On, format!("count {name}"), vec![]),
            StageKind::Log { name, rate } => {
                if stages::log(self.state, name, *rate) {
                    self.logged.push(name.clone());
                    seen = "written down".to_owned();
                } else {
                    seen = "not written down: its rate is spent".to_owned();
                }
                (Way::On, format!("log {name}"), vec![])
            }
            StageKind::Ban { set } => {
                let Some(item) = policy.sets.get(set.index()) else { return Next::Drop(Reason::BadImage) };
                let Some(banned) = self.ban(set.0, item) else { return Next::Drop(Reason::BadImage) };
                seen = banned;
                (Way::On, format!("ban {}", item.name), vec![])
            }
            StageKind::Verify { authority, exits } => {
                let Some(item) = policy.authorities.get(authority.index()) else {
                    return Next::Drop(Reason::BadImage);
                };
                let certified = params::certified(policy, *authority);
                let params = VerifyParams {
                    certificate: &|id| certified.iter().find(|(own, _)| *own == id).map(|(_, one)| *one),
                    ..params::verify(*authority, item)
                };
                let (way, words) =
                    stages::verify(self.state, &params, self.frame, &self.fields, &mut self.plan);
                seen = words;
                let exits = vec![
                    (Way::Missing, "missing", &exits.missing),
                    (Way::Invalid, "invalid", &exits.invalid),
                    (Way::Expired, "expired", &exits.expired),
                    (Way::Revoked, "revoked", &exits.revoked),
                    (Way::Replayed, "replayed", &exits.replayed),
                ];
                (way, format!("verify {}", item.name), exits)
            }
            StageKind::Map { mapper, missing, invalid, full } => {
                let Some(item) = policy.mappers.get(mapper.index()) else {
                    return Next::Drop(Reason::BadImage);
                };
                let (frame, fields) = (self.frame, &self.fields);
                let (way, words) = stages::map(self.state, mapper.0, item, frame, fields, &mut self.plan);
                seen = words;
                let exits = vec![
                    (Way::Missing, "missing", missing),
                    (Way::Invalid, "invalid", invalid),
                    (Way::Full, "full", full),
                ];
                (way, format!("map {}", item.name), exits)
            }
            StageKind::Synguard { synguard, bad } => {
                let Some(item) = policy.synguards.get(synguard.index()) else {
                    return Next::Drop(Reason::BadImage);
                };
                let text = format!("synguard {}", item.name);
                let (frame, fields) = (self.frame, &self.fields);
                match stages::synguard(self.state, synguard.0, item, frame, fields, &mut self.plan) {
                    Guarding::On(words) => {
                        seen = words.to_owned();
                        (Way::On, text, vec![])
                    }
                    Guarding::Opens(standing) => {
                        self.standing = Some(standing);
                        seen = "a cookie of ours: it stands for the SYN".to_owned();
                        (Way::On, text, vec![])
                    }
                    Guarding::Bad => {
                        seen = "no cookie of ours".to_owned();
                        (Way::Bad, text, vec![(Way::Bad, "bad", bad)])
                    }
                    Guarding::Drop(reason) => (Way::Drop(reason), text, vec![]),
                    Guarding::Answered(frame) => {
                        let kind = StepKind::Stage { exit: None };
                        let seen = "above its rate: answered with a cookie".to_owned();
                        self.path.push(PathStep { seen, ..PathStep::new(kind, Some(stage.span), text) });
                        return Next::Ended(Ended {
                            verdict: Verdict::Reply(Answer::Cookie),
                            reason: None,
                            frame: Some(frame),
                            sent: None,
                        });
                    }
                }
            }
            StageKind::Limit { limit, exceed } => {
                let Some(item) = policy.limits.get(limit.index()) else {
                    return Next::Drop(Reason::BadImage);
                };
                let way = stages::limit(self.state, &params::limit(limit.0, item), &self.staged());
                if way == Way::Exceed {
                    self.exceeded = Some(*limit);
                }
                (way, format!("limit {}", item.name), vec![(Way::Exceed, "exceed", exceed)])
            }
            StageKind::Track { tracker, full, invalid } => {
                let Some(item) = policy.trackers.get(tracker.index()) else {
                    return Next::Drop(Reason::BadImage);
                };
                let one_way = self.of.has_one_way && params::is_one_way(policy, behind.stages, behind.tail);
                let params = TrackParams { one_way, ..params::track(tracker.0, item) };
                let way = stages::track(self.state, &params, &self.staged(), &mut self.plan);
                let exits = vec![(Way::Full, "full", full), (Way::Invalid, "invalid", invalid)];
                (way, format!("track {}", item.name), exits)
            }
            StageKind::Translate { pool, empty, ports } => {
                let (Some(item), Some(tables)) = (policy.pools.get(pool.index()), self.of.pool(*pool)) else {
                    return Next::Drop(Reason::BadImage);
                };
                let way = self.translate(*pool, tables);
                let exits = vec![(Way::Empty, "empty", empty), (Way::Ports, "ports", ports)];
                (way, format!("translate {}", item.name), exits)
            }
            StageKind::TranslateBack { invalid } => {
                let way = stages::translate_back(self.state, &self.staged(), &mut self.plan);
                (way, "translate back".to_owned(), vec![(Way::Invalid, "invalid", invalid)])
            }
        };
        let exit = exits.iter().find(|(of, _, _)| *of == way);
        let kind = StepKind::Stage { exit: exit.map(|(_, name, _)| *name) };
        self.path.push(PathStep { seen, ..PathStep::new(kind, Some(stage.span), text) });
        match (way, exit) {
            (_, Some((_, _, exit))) => Next::Exit(&exit.chain),
            (Way::Drop(reason), None) => Next::Drop(reason),
            (Way::Held, None) => {
                Next::Ended(Ended { verdict: Verdict::Held, reason: None, frame: None, sent: None })
            }
            _ => Next::On,
        }
    }

    /// Who was banned; `None` where no limit that has a key was exceeded on the way.
    fn ban(&mut self, set: u32, item: &Set) -> Option<String> {
        let limit = self.of.policy.limits.get(self.exceeded?.index())?;
        let key = limit.key?;
        let range = stages::key_range(&key, &self.fields);
        let ttl = item.dynamic.and_then(|dynamic| dynamic.ttl);
        let length = if self.fields.v6 { key.v6 } else { key.v4 };
        let banned = format!("{}/{length}", ip(range.0));
        if self.state.add_member(set, range, ttl, item.max.unwrap_or(u32::MAX)) {
            return Some(banned);
        }
        self.counted.push(Reason::BanFull);
        Some(format!("{banned} is not banned: the set is full"))
    }

    fn staged(&self) -> Fields {
        self.standing.as_ref().map_or(self.fields, |standing| standing.fields)
    }

    fn translate(&mut self, id: PoolId, tables: &Tables) -> Way {
        let family = if self.fields.v6 { &tables.v6 } else { &tables.v4 };
        let slot = |slot: u32| family.slots.get(slot as usize).copied();
        let hash = |number| Some(certificate(self.of.policy, number)?.1.hash);
        let reached = |ordinal| family.reached(ordinal);
        let wrap = |ordinal| family.wrap(ordinal);
        let params = PoolParams {
            is_nat: tables.is_nat,
            reached: &reached,
            hash: &hash,
            backends: &family.loads,
            wrap: &wrap,
            id: id.0,
            pick: tables.pick,
            slots: family.slots.len() as u32,
            slot: &slot,
            sources: &family.sources,
            port_first: tables.port_first,
            port_count: tables.port_count,
        };
        let staged = self.staged();
        stages::translate(self.state, &params, &staged, &mut self.plan)
    }
}

/// What of a chain comes behind a stage.
#[derive(Clone, Copy)]
struct Behind<'p> {
    stages: &'p [Stage],
    tail: &'p Tail,
}

enum Next<'p> {
    On,
    Exit(&'p Chain),
    Drop(Reason),
    /// By the stage itself.
    Ended(Ended),
}
