//! Owns trying a policy that is in place: each attempt beside the evaluator, and what the program counted meanwhile.
//! Never puts a policy in place.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use compiler::eval::{self, Evaluator, Ordinal, Run, State, StepKind, Verdict, backend_ordinals};
use ebpf_runtime::instance::Instance;
use ebpf_runtime::lab::{Host, Lab};
use ebpf_runtime::status::{Reason, Status, TallyKind};
use lb_abi::reason::REASONS;

use super::attempt::{ANSWER, Answer, Attempt, Kind, NOTHING};
use super::backends::Servers;
use super::path::{tally_of, words};
use super::report::{ArmReport, BackendReport, RoundReport, SceneReport, StepReport};
use super::scene::{INSTANCE, Scene, failure, hash_key};
use crate::console::Failure;

/// Attempts at a service that only count.
const MORE: usize = 27;
/// First source port of the client.
const FIRST_PORT: u16 = 20_000;

/// The attempts at one policy: the program in the kernel beside the evaluator.
pub struct Trial<'a> {
    scene: &'a Scene,
    lab: &'a Lab,
    client: &'a Host,
    evaluator: Evaluator<'a>,
    state: State,
    started: Instant,
    /// Counters before the first attempt.
    first: Status,
    /// Counters now.
    last: Status,
    port: u16,
    /// Flows that the evaluator sent to each backend, by pool and index.
    foretold: BTreeMap<(u32, usize), u64>,
}

impl<'a> Trial<'a> {
    pub fn start(scene: &'a Scene, lab: &'a Lab) -> Result<Trial<'a>, Failure> {
        let client = lab.clients.first().ok_or_else(|| Failure::new("the lab has no client"))?;
        let first = status(lab)?;
        let key = lab.balancer.run(|| std::fs::read(hash_key())).map_err(failure)?.map_err(failure)?;
        let word = |at: usize| {
            key.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
        };
        Ok(Trial {
            scene,
            lab,
            client,
            evaluator: Evaluator::new(&scene.policy),
            state: State::new([word(0), word(8)]),
            started: Instant::now(),
            last: first.clone(),
            first,
            port: FIRST_PORT,
            foretold: BTreeMap::new(),
        })
    }

    fn attempt(&mut self, kind: Kind, target: SocketAddr) -> Result<Attempt, Failure> {
        let source = self.client.address_like(target.ip());
        let source =
            source.ok_or_else(|| Failure::new(format!("the client has no address like {target}")))?;
        self.port = self.port.wrapping_add(1);
        Ok(Attempt { kind, source: SocketAddr::new(source, self.port), target })
    }

    /// What the evaluator says of the attempt's first packet.
    fn foretell(&mut self, attempt: &Attempt) -> Run {
        // A second on, so that no limit starts with an empty clock.
        self.state.clock = (self.started.elapsed() + Duration::from_secs(1)).as_nanos() as u64;
        let run = self.evaluator.run(&mut self.state, &attempt.frame());
        if let Some(backend) = self.backend(&run) {
            *self.foretold.entry(backend).or_default() += 1;
        }
        run
    }

    /// Pool and index of the backend that a packet was sent to.
    fn backend(&self, run: &Run) -> Option<(u32, usize)> {
        let sent = run.sent?;
        let one = backend_ordinals(&self.scene.policy).find(|one| one.ordinal == sent.backend)?;
        Some((sent.pool, one.index))
    }

    fn backend_name(&self, run: &Run) -> Option<&'a str> {
        let (pool, index) = self.backend(run)?;
        Some(&self.scene.policy.pools.get(pool as usize)?.backends.get(index)?.name)
    }

    /// One attempt, with its way.
    pub fn step(&mut self, kind: Kind, target: SocketAddr) -> Result<StepReport, Failure> {
        let attempt = self.attempt(kind, target)?;
        let run = self.foretell(&attempt);
        let answer = attempt.make(self.client, patience(&run)).map_err(failure)?;
        let before = std::mem::replace(&mut self.last, status(self.lab)?);
        let mut path = words(&run.path);
        // Where the choice is random, the program's is shown.
        let random = run.sent.is_some_and(|sent| self.scene.picks_at_random(sent.pool));
        if let (Some(last), Some(name), false) = (path.last_mut(), self.backend_name(&run), random) {
            last.push_str(&format!(" {name}"));
        }
        let wrong = self.judge(&run, &answer).or_else(|| self.uncounted(&run, &before));
        Ok(StepReport { what: attempt.what(), path, answer, wrong })
    }

    /// Many attempts at one service.
    pub fn round(&mut self, kind: Kind, target: SocketAddr) -> Result<RoundReport, Failure> {
        let started = Instant::now();
        let mut wrong = Vec::new();
        let mut what = String::new();
        for _ in 0..MORE {
            let attempt = self.attempt(kind, target)?;
            let run = self.foretell(&attempt);
            let answer = attempt.make(self.client, patience(&run)).map_err(failure)?;
            what = attempt.what();
            wrong.extend(
                self.judge(&run, &answer).map(|why| format!("{what} from {}: {why}", attempt.source)),
            );
        }
        let micros = started.elapsed().as_micros() as u64;
        Ok(RoundReport { what, attempts: MORE, micros, wrong })
    }

    /// What the client saw against what the evaluator says.
    fn judge(&self, run: &Run, answer: &Answer) -> Option<String> {
        let random = run.sent.is_some_and(|sent| self.scene.picks_at_random(sent.pool));
        let backend = if random { Backend::Any } else { Backend::Of(self.backend_name(run)) };
        judge(run.verdict, backend, answer)
    }

    /// The first arm, way, exit or reason on the way that the program did not count.
    fn uncounted(&self, run: &Run, before: &Status) -> Option<String> {
        let mut tree = self.scene.policy.name.as_str();
        for step in &run.path {
            if step.kind == StepKind::Tree {
                tree = &step.text;
            }
            let line = step.span.map(|span| self.scene.sources.place(span).line);
            let Some((kind, label)) = tally_of(step) else { continue };
            let counts = |status: &Status| {
                let tally = status.tallies.iter().find(|tally| {
                    // A way's counter stands at the way, its step at the `every`.
                    let place = kind != TallyKind::Arm || Some(tally.line) == line;
                    tally.kind == kind && tally.tree == tree && place && label.matches(&tally.label)
                });
                tally.map_or(0, |tally| tally.packets)
            };
            if counts(&self.last) <= counts(before) {
                return Some(format!("the program did not count {label} of {tree}"));
            }
        }
        let reasons = |status: &Status, name: &str| {
            status.reasons.iter().find(|reason| reason.reason == name).map_or(0, |reason| reason.packets)
        };
        let name = REASONS.iter().find(|(reason, _)| Some(*reason) == run.reason)?.1;
        (reasons(&self.last, name) <= reasons(before, name))
            .then(|| format!("the program did not count {name}"))
    }

    /// Counts since the start, and what each backend has seen.
    pub fn close(mut self, servers: &[(String, Servers)], report: &mut SceneReport) -> Result<(), Failure> {
        self.last = status(self.lab)?;
        let before: BTreeMap<_, u64> = self
            .first
            .tallies
            .iter()
            .map(|tally| ((&tally.tree, &tally.label, tally.line), tally.packets))
            .collect();
        report.arms = self
            .last
            .tallies
            .iter()
            .map(|tally| ArmReport {
                tree: tally.tree.clone(),
                label: tally.label.clone(),
                line: tally.line,
                packets: tally.packets - before.get(&(&tally.tree, &tally.label, tally.line)).unwrap_or(&0),
            })
            .collect();
        let earlier: BTreeMap<_, u64> =
            self.first.reasons.iter().map(|reason| (reason.reason, reason.packets)).collect();
        let since = |reason: &Reason| {
            let packets = reason.packets - earlier.get(reason.reason).unwrap_or(&0);
            (packets > 0).then(|| (reason.reason.to_owned(), packets))
        };
        report.reasons = self.last.reasons.iter().filter_map(since).collect();
        let mut served = servers.iter();
        for (number, pool) in (0..).zip(&self.scene.policy.pools) {
            for (index, backend) in pool.backends.iter().enumerate() {
                let seen = served.next().map_or(0, |(_, servers)| servers.seen());
                report.backends.push(self.backend_report(number, index, (&pool.name, &backend.name), seen));
            }
        }
        Ok(())
    }

    fn backend_report(&self, pool: u32, index: usize, names: (&str, &str), served: u64) -> BackendReport {
        let flows = |status: &Status| -> u64 {
            let pools = status.pools.iter().filter(|pool| pool.name == names.0);
            let backends = pools.flat_map(|pool| &pool.backends).filter(|backend| backend.name == names.1);
            backends.map(|backend| backend.flows).sum()
        };
        let of_this = |one: &Ordinal| one.pool.index() == pool as usize && one.index == index;
        let flows = flows(&self.last) - flows(&self.first);
        let foretold = self.foretold.get(&(pool, index)).copied().unwrap_or(0);
        let foretold = (!self.scene.picks_at_random(pool)).then_some(foretold);
        let wrong = match foretold {
            Some(foretold) if foretold != flows => Some(format!("{flows} flows, {foretold} foretold")),
            _ if served != flows => Some(format!("{flows} flows counted, {served} seen by the server")),
            _ => None,
        };
        BackendReport {
            pool: names.0.to_owned(),
            name: names.1.to_owned(),
            addresses: backend_ordinals(&self.scene.policy)
                .filter(of_this)
                .map(|one| match (IpAddr::from(one.addr).to_canonical(), one.port) {
                    (address, 0) => address.to_string(),
                    (address, port) => SocketAddr::new(address, port).to_string(),
                })
                .collect(),
            flows,
            foretold,
            served,
            wrong,
        }
    }
}

/// Who must answer what is forwarded.
enum Backend<'a> {
    /// The pool picks at random.
    Any,
    /// Nobody where it is not translated.
    Of(Option<&'a str>),
}

fn judge(verdict: Verdict, backend: Backend<'_>, answer: &Answer) -> Option<String> {
    match (verdict, backend, answer) {
        (Verdict::Drop, _, Answer::Nothing)
        | (Verdict::Reply(eval::Answer::Echo), _, Answer::Echo { .. })
        | (Verdict::Forward, Backend::Any, Answer::Server { .. }) => None,
        (Verdict::Forward, Backend::Of(Some(expected)), Answer::Server { name, .. }) => {
            (name != expected).then(|| format!("{name} answered instead of {expected}"))
        }
        (verdict, _, answer) => Some(format!("the evaluator says {verdict:?}, the client saw {answer:?}")),
    }
}

fn patience(run: &Run) -> Duration {
    if run.verdict == Verdict::Drop { NOTHING } else { ANSWER }
}

fn status(lab: &Lab) -> Result<Status, Failure> {
    lab.balancer.run(|| Instance::status(&Lab::run_dir(), INSTANCE)).map_err(failure)?.map_err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: Verdict = Verdict::Reply(eval::Answer::Echo);

    #[test]
    fn an_answer_is_right_only_as_the_evaluator_says() {
        let echo = Answer::Echo { micros: 1 };
        let server = Answer::Server { name: "a1".into(), sees: String::new(), micros: 1 };
        let refused = Answer::Other("connection refused".into());
        let right = |verdict, backend: Backend<'_>, answer| judge(verdict, backend, answer).is_none();
        assert!(right(Verdict::Drop, Backend::Of(None), &Answer::Nothing));
        assert!(right(ECHO, Backend::Of(None), &echo));
        assert!(right(Verdict::Forward, Backend::Of(Some("a1")), &server));
        assert!(right(Verdict::Forward, Backend::Any, &server));
        assert!(!right(Verdict::Forward, Backend::Of(Some("a2")), &server));
        assert!(!right(Verdict::Forward, Backend::Of(None), &server));
        for verdict in [Verdict::Drop, ECHO, Verdict::Forward, Verdict::Pass] {
            assert!(!right(verdict, Backend::Any, &refused));
            assert_eq!(right(verdict, Backend::Any, &Answer::Nothing), verdict == Verdict::Drop);
            assert_eq!(right(verdict, Backend::Any, &echo), verdict == ECHO);
        }
    }
}
