//! Owns stages, their exits and ends, with every name resolved. Never what stands before or behind a stage.

use super::Typing;
use super::chain::Typed;
use crate::ast::{Exit as WrittenExit, Stage as WrittenStage, Word};
use crate::diagnostic::IMPLICIT_EXIT;
use crate::names::Kind;
use crate::policy::{
    Authority, AuthorityId, Chain, DefaultEnd, End, Exit, LimitId, LimitUnit, MapperId, Pool, PoolId, Rate,
    Set, SetId, StageKind, SynguardId, Tail, TrackerId, TreeId, VerifyExits,
};
use crate::report::suggestion;

impl Typing<'_> {
    pub(super) fn stage(&mut self, stage: &WrittenStage) -> Typed {
        let words: Vec<&str> = stage.words.iter().map(|word| word.text.as_str()).collect();
        let end = |end: End| Typed::Tail(Tail::End(end, stage.span));
        match (stage.verb.text.as_str(), words.as_slice()) {
            ("drop", []) => self.end(stage, end(End::Drop)),
            ("pass", []) => self.end(stage, end(End::Pass)),
            ("forward", []) => self.end(stage, end(End::Forward)),
            ("reply", ["echo"]) => self.end(stage, end(End::ReplyEcho)),
            ("reply", ["rst"]) => self.end(stage, end(End::ReplyRst)),
            ("reject", []) => self.end(stage, end(End::Reject)),
            ("count", [_]) => self.count(stage),
            ("limit", [_]) => self.limit_stage(stage),
            ("track", [_]) => self.track_stage(stage),
            ("translate", ["back"]) => {
                let mut exits = self.exits(stage, &["invalid"]);
                Typed::Stage(StageKind::TranslateBack { invalid: self.exit(&mut exits, "invalid", stage) })
            }
            ("translate", [_]) => self.translate_stage(stage),
            ("log", [_, _, ..]) => self.log(stage),
            ("ban", [_]) => self.ban(stage),
            ("verify", [_]) => self.verify_stage(stage),
            ("map", [_]) => self.map_stage(stage),
            ("synguard", [_]) => self.synguard_stage(stage),
            (verb, words) => self.tree_or_unknown(stage, verb, words),
        }
    }

    fn end(&mut self, stage: &WrittenStage, end: Typed) -> Typed {
        self.no_exits(stage);
        end
    }

    fn no_exits(&mut self, stage: &WrittenStage) {
        self.exits(stage, &[]);
    }

    /// A word that is no verb in its right form: a tree's name, or a slip.
    fn tree_or_unknown(&mut self, stage: &WrittenStage, verb: &str, words: &[&str]) -> Typed {
        const FORMS: &[(&str, &str)] = &[
            ("drop", "`drop`"),
            ("pass", "`pass`"),
            ("forward", "`forward`"),
            ("reject", "`reject`"),
            ("reply", "`reply echo` or `reply rst`"),
            ("count", "`count NAME`"),
            ("limit", "`limit NAME (exceed -> …)`"),
            ("track", "`track NAME (full -> …, invalid -> …)`"),
            ("translate", "`translate POOL (empty -> …)` or `translate back`"),
            ("log", "`log NAME 10 pkt/s`"),
            ("ban", "`ban SET`"),
            ("verify", "`verify AUTHORITY (…)`"),
            ("map", "`map MAPPER (…)`"),
            ("synguard", "`synguard NAME (bad -> …)`"),
        ];
        for exit in &stage.exits {
            self.chain(&exit.chain);
        }
        if let Some((_, form)) = FORMS.iter().find(|(known, _)| *known == verb) {
            self.report
                .error("E0319", stage.span, format!("`{verb}` is not written like this"))
                .help(format!("write {form}"));
            return Typed::Nothing { ends: matches!(verb, "drop" | "pass" | "forward" | "reject" | "reply") };
        }
        match self.names.look_up(verb) {
            Some(symbol) if symbol.kind == Kind::Tree => {
                if !words.is_empty() || !stage.exits.is_empty() {
                    self.report
                        .error("E0319", stage.span, format!("tree `{verb}` takes no words and has no exits"))
                        .help(format!("write `{verb}`"));
                }
                Typed::Tail(Tail::Tree(TreeId(symbol.index), stage.span))
            }
            Some(symbol) => {
                let kind = symbol.kind.noun();
                let stage_of = match symbol.kind {
                    Kind::Pool => Some(format!("translate {verb}")),
                    Kind::Limit => Some(format!("limit {verb} (exceed -> drop)")),
                    Kind::Track => Some(format!("track {verb}")),
                    Kind::Authority => Some(format!("verify {verb}")),
                    Kind::Mapper => Some(format!("map {verb}")),
                    Kind::Synguard => Some(format!("synguard {verb}")),
                    _ => None,
                };
                let finding = self
                    .report
                    .error("E0213", stage.verb.span, format!("`{verb}` is {kind}, which no packet can go to"))
                    .also(symbol.span, "declared here");
                if let Some(cure) = stage_of {
                    finding.help(format!("write `{cure}`"));
                }
                Typed::Nothing { ends: true }
            }
            None if self.names.is_lost(verb) => Typed::Nothing { ends: true },
            None => {
                let trees = self.names.of_kinds(&[Kind::Tree], self.report.count("E0211"));
                let known: Vec<&str> = FORMS.iter().map(|(verb, _)| *verb).chain(trees).collect();
                let meant = elsewhere(verb, words);
                let is_end = meant.is_some() || (words.is_empty() && stage.exits.is_empty());
                self.report
                    .error("E0211", stage.verb.span, format!("`{verb}` is neither a stage nor a tree"))
                    .label("unknown stage")
                    .help(meant.unwrap_or_else(|| suggestion(verb, known)));
                // It may have been meant as either; say nothing of a missing end, nor of what follows.
                Typed::Nothing { ends: is_end }
            }
        }
    }

    fn count(&mut self, stage: &WrittenStage) -> Typed {
        self.no_exits(stage);
        match stage.words.first().and_then(|name| self.counter_name(name, "counter")) {
            Some(name) => Typed::Stage(StageKind::Count { name }),
            None => Typed::Nothing { ends: false },
        }
    }

    /// A name that stands for itself and is shown to the operator.
    fn counter_name(&mut self, name: &Word, what: &str) -> Option<String> {
        let sound = name.text.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            && name.text.len() <= 64;
        if name.quoted || !sound {
            self.report
                .error("E0319", name.span, format!("`{}` cannot be the name of a {what}", name.text))
                .help("write letters, digits and `_`, 64 at most, a letter first");
            return None;
        }
        Some(name.text.clone())
    }

    /// `log NAME 10 pkt/s`.
    fn log(&mut self, stage: &WrittenStage) -> Typed {
        self.no_exits(stage);
        let Some((name, words)) = stage.words.split_first() else { return Typed::Nothing { ends: false } };
        let name = self.counter_name(name, "log");
        let place = words.iter().map(|word| word.span).reduce(crate::ast::join).unwrap_or(stage.span);
        let rate = match self.rate(words, place) {
            Some(rate) if rate.unit == LimitUnit::Packets => Some(Rate { count: rate.amount, per: rate.per }),
            Some(_) => {
                let finding = self.report.error("E0311", place, "a log is written packet by packet");
                finding.help("write the rate in packets: `log NAME 10 pkt/s`");
                None
            }
            None => None,
        };
        let Some((name, rate)) = name.zip(rate) else { return Typed::Nothing { ends: false } };
        let (first, before) = *self.logs.entry(name.clone()).or_insert((rate, place));
        if first != rate {
            self.report
                .error("E0309", place, format!("log `{name}` has another rate here"))
                .also(before, "the first one")
                .because("packets of one name share one rate")
                .help("write the same rate, or another name");
        }
        Typed::Stage(StageKind::Log { name, rate })
    }

    /// `ban SET`, in the exit `exceed` of a limit with a key.
    fn ban(&mut self, stage: &WrittenStage) -> Typed {
        self.no_exits(stage);
        let exceeded = self.exceeded.and_then(|id| self.limits.get(id.index()));
        match exceeded.map(|limit| (limit.key, limit.name.clone(), limit.span)) {
            Some((Some(_), ..)) => {}
            Some((None, name, place)) => {
                self.report
                    .error("E0419", stage.span, format!("limit `{name}` has no key that could be banned"))
                    .also(place, "it counts all packets together")
                    .because("`ban` puts the key of the limit into the set")
                    .help("give the limit a key: `per src v4 /32 v6 /64; max 65_536`");
            }
            None => {
                self.report
                    .error("E0419", stage.span, "nobody has gone beyond a limit here")
                    .because("`ban` puts the key of the limit into the set in whose exit `exceed` it stands")
                    .help("write `limit NAME (exceed -> ban SET -> drop)`");
            }
        }
        let set = stage.words.first().and_then(|name| self.names.expect(Kind::Set, name, self.report));
        let Some((set, name)) = set.zip(stage.words.first()) else { return Typed::Nothing { ends: false } };
        if let Some(Set { dynamic: None, span, .. }) = self.sets.get(set as usize) {
            self.report
                .error("E0420", name.span, format!("set `{}` is not filled at run time", name.text))
                .also(*span, "declared here")
                .help(format!("declare it as `set {} : addr dynamic max 65_536 ttl 10m`", name.text));
        }
        Typed::Stage(StageKind::Ban { set: SetId(set) })
    }

    fn verify_stage(&mut self, stage: &WrittenStage) -> Typed {
        let mut exits = self.exits(stage, &["missing", "invalid", "expired", "revoked", "replayed"]);
        let found =
            stage.words.first().and_then(|name| self.names.expect(Kind::Authority, name, self.report));
        let Some(index) = found else { return Typed::Nothing { ends: false } };
        let item = self.authorities.get(index as usize);
        let can = |of: fn(&Authority) -> bool| item.is_none_or(of);
        let (expire, revoke, replay) =
            (can(Authority::can_expire), can(Authority::can_be_revoked), can(Authority::can_be_replayed));
        let exits = VerifyExits {
            missing: self.exit(&mut exits, "missing", stage),
            invalid: self.exit(&mut exits, "invalid", stage),
            expired: self.exit_if(expire, &mut exits, "expired", stage),
            revoked: self.exit_if(revoke, &mut exits, "revoked", stage),
            replayed: self.exit_if(replay, &mut exits, "replayed", stage),
        };
        Typed::Stage(StageKind::Verify { authority: AuthorityId(index), exits: Box::new(exits) })
    }

    fn map_stage(&mut self, stage: &WrittenStage) -> Typed {
        let mut exits = self.exits(stage, &["missing", "invalid", "full"]);
        let mapper = stage.words.first().and_then(|name| self.names.expect(Kind::Mapper, name, self.report));
        let Some(index) = mapper else { return Typed::Nothing { ends: false } };
        Typed::Stage(StageKind::Map {
            mapper: MapperId(index),
            missing: self.exit(&mut exits, "missing", stage),
            invalid: self.exit(&mut exits, "invalid", stage),
            full: self.exit(&mut exits, "full", stage),
        })
    }

    fn synguard_stage(&mut self, stage: &WrittenStage) -> Typed {
        let mut exits = self.exits(stage, &["bad"]);
        let found = stage.words.first().and_then(|name| self.names.expect(Kind::Synguard, name, self.report));
        let Some(index) = found else { return Typed::Nothing { ends: false } };
        let bad = self.exit(&mut exits, "bad", stage);
        Typed::Stage(StageKind::Synguard { synguard: SynguardId(index), bad })
    }

    fn limit_stage(&mut self, stage: &WrittenStage) -> Typed {
        let Some(name) = stage.words.first() else { return Typed::Nothing { ends: false } };
        let limit = self.names.expect(Kind::Limit, name, self.report);
        let outer = std::mem::replace(&mut self.exceeded, limit.map(LimitId));
        let mut exits = self.exits(stage, &["exceed"]);
        self.exceeded = outer;
        if !stage.exits.iter().any(|exit| exit.name.text == "exceed") {
            self.report
                .error("E0403", stage.span, "this limit does not say what happens beyond it")
                .because("`limit` has to name its exit `exceed`")
                .help(format!("write `limit {} (exceed -> drop)`", name.text));
            return Typed::Nothing { ends: false };
        }
        let exceed = self.exit(&mut exits, "exceed", stage);
        match limit {
            Some(index) => Typed::Stage(StageKind::Limit { limit: LimitId(index), exceed }),
            None => Typed::Nothing { ends: false },
        }
    }

    fn track_stage(&mut self, stage: &WrittenStage) -> Typed {
        let mut exits = self.exits(stage, &["full", "invalid"]);
        let tracker = stage.words.first().and_then(|name| self.names.expect(Kind::Track, name, self.report));
        let Some(index) = tracker else { return Typed::Nothing { ends: false } };
        Typed::Stage(StageKind::Track {
            tracker: TrackerId(index),
            full: self.exit(&mut exits, "full", stage),
            invalid: self.exit(&mut exits, "invalid", stage),
        })
    }

    fn translate_stage(&mut self, stage: &WrittenStage) -> Typed {
        let mut exits = self.exits(stage, &["empty", "ports"]);
        let pool = stage.words.first().and_then(|name| self.names.expect(Kind::Pool, name, self.report));
        let Some(index) = pool else { return Typed::Nothing { ends: false } };
        let can_run_out = self.pools.get(index as usize).is_none_or(Pool::can_run_out_of_ports);
        Typed::Stage(StageKind::Translate {
            pool: PoolId(index),
            empty: self.exit(&mut exits, "empty", stage),
            ports: self.exit_if(can_run_out, &mut exits, "ports", stage),
        })
    }

    /// The written exits of a stage, by name; all chains in them are typed.
    fn exits(&mut self, stage: &WrittenStage, known: &[&str]) -> Vec<(String, Exit)> {
        let mut out: Vec<(String, Exit)> = Vec::new();
        for WrittenExit { name, chain } in &stage.exits {
            let chain = Box::new(self.chain(chain));
            if !known.contains(&name.text.as_str()) {
                let verb = &stage.verb.text;
                let cure = match known.is_empty() {
                    true => format!("`{verb}` has no exits: remove the brackets"),
                    false => suggestion(&name.text, known.iter().copied()),
                };
                self.report
                    .error("E0212", name.span, format!("`{verb}` has no exit `{}`", name.text))
                    .help(cure);
            } else if let Some((_, first)) = out.iter().find(|(written, _)| *written == name.text) {
                let place = first.span;
                self.report
                    .error("E0309", name.span, format!("exit `{}` is written twice", name.text))
                    .also(place, "written here first");
            } else {
                out.push((name.text.clone(), Exit { chain, written: true, span: name.span }));
            }
        }
        out
    }

    /// One exit out of the written ones, or what the policy's default makes of it.
    fn exit(&mut self, written: &mut Vec<(String, Exit)>, name: &str, stage: &WrittenStage) -> Exit {
        self.exit_if(true, written, name, stage)
    }

    /// As `exit`; one that no packet can take need not be written.
    fn exit_if(
        &mut self,
        can_be_taken: bool,
        written: &mut Vec<(String, Exit)>,
        name: &str,
        stage: &WrittenStage,
    ) -> Exit {
        if let Some(at) = written.iter().position(|(written, _)| written == name) {
            return written.swap_remove(at).1;
        }
        let (end, word) = match self.default {
            DefaultEnd::Drop => (End::Drop, "drop"),
            DefaultEnd::Reject => (End::Reject, "reject"),
        };
        if can_be_taken {
            self.report
                .allowed(
                    IMPLICIT_EXIT,
                    stage.span,
                    format!("exit `{name}` is not written: it takes `{word}`"),
                )
                .because("an unwritten exit takes the policy's `default`")
                .help(format!("write `({name} -> {word})`"));
        }
        let chain = Chain { stages: Vec::new(), tail: Tail::End(end, stage.span), span: stage.span };
        Exit { chain: Box::new(chain), written: false, span: stage.span }
    }
}

/// What is written here for an end of other firewalls.
fn elsewhere(verb: &str, words: &[&str]) -> Option<String> {
    Some(match (verb.to_ascii_lowercase().as_str(), words) {
        ("accept" | "allow" | "permit", []) => {
            "`pass` gives the packet to this host, `forward` sends it on".to_owned()
        }
        ("deny" | "block" | "discard", []) => {
            "`drop` ends the packet without a word, `reject` answers that it was refused".to_owned()
        }
        ("return" | "continue" | "next", []) => {
            "a packet never goes back up the tree: end the chain, or name a tree".to_owned()
        }
        ("goto" | "jump" | "call" | "tree", [tree]) => format!("the name leads there alone: `-> {tree}`"),
        _ => return None,
    })
}
