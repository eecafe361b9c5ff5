//! Each thing to come: refused where a packet can meet it, and let be where none can.

use std::path::Path;
use std::time::Duration;

use policy_lang::policy::*;
use policy_lang::source::{Loader, Sources};

use crate::lower::compile;

pub(in crate::lower) struct NoFile;

impl Loader for NoFile {
    fn load(&self, _: &Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

/// One of everything that can be carried out; `aside` is a pool that no chain leads to.
fn sound() -> Policy {
    let text = "lbp 1\n\
        set few : net = { 192.0.2.0/24 }\n\
        track flows { idle 30s; max 100 }\n\
        pool app { pick random; via nat; source 10.0.0.5; ports 1000-2000; backend a1 10.0.1.1 }\n\
        pool aside { pick random; via nat; source 10.0.0.5; ports 3000-4000; backend b1 10.0.2.1 }\n\
        side B when src in app or src in aside\n\
        side A otherwise\n\
        policy p { default drop } = match {\n\
          from B -> translate back -> forward\n\
          src in few -> count few -> drop\n\
          else -> track flows (full -> drop) -> translate app (empty -> drop, ports -> drop) -> forward\n\
        }\n";
    policy_lang::check("p.lbp", text.to_owned(), &NoFile).policy.expect("sound")
}

fn refused(change: impl FnOnce(&mut Policy)) -> Vec<&'static str> {
    let mut policy = sound();
    change(&mut policy);
    match compile(&policy, &Sources::default()) {
        Ok(_) => Vec::new(),
        Err(refused) => refused.iter().map(|one| one.code).collect(),
    }
}

fn arms(policy: &mut Policy) -> &mut Match {
    let Tail::Match(arms) = &mut policy.root.tail else { panic!("a match") };
    arms
}

/// Puts a stage in front of the second arm's.
fn stage(policy: &mut Policy, kind: StageKind) {
    let chain = &mut arms(policy).arms[1].chain;
    let span = chain.stages[0].span;
    chain.stages.insert(0, Stage { kind, span });
}

/// Lets the second arm ask for a field as well.
fn ask(policy: &mut Policy, field: Field, values: Values) {
    let arm = &mut arms(policy).arms[1];
    let test = Test { field, negated: false, values, sets: Vec::new(), text: String::new(), span: arm.span };
    arm.guard = Guard::And(vec![arm.guard.clone(), Guard::Test(test)]);
}

fn exit() -> Exit {
    let span = sound().span;
    let chain = Chain { stages: Vec::new(), tail: Tail::End(End::Drop, span), span };
    Exit { chain: Box::new(chain), written: true, span }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_can_be_carried_out_is_not_refused() {
    assert_eq!(refused(|_| {}), [""; 0]);
}

#[test]
fn stages_are_refused_with_what_they_name() {
    let rate = Rate { count: 1, per: SECOND };
    assert_eq!(refused(|p| stage(p, StageKind::Log { name: "l".into(), rate })), ["N0512"]);
    assert_eq!(refused(|p| stage(p, StageKind::Ban { set: SetId(0) })), ["N0511"]);
    let mapper = |p: &mut Policy| {
        let protocol = MapperProtocol::Dtls;
        let (name, span) = ("m".into(), p.sets[0].span);
        p.mappers.push(Mapper { name, span, protocol, max: 1, idle: SECOND, wait: SECOND });
    };
    let map = |p: &mut Policy| {
        let (missing, invalid, full) = (exit(), exit(), exit());
        stage(p, StageKind::Map { mapper: MapperId(0), missing, invalid, full });
    };
    assert_eq!(refused(|p| [mapper, map].iter().for_each(|change| change(p))), ["N0503", "N0510"]);
    let synguard = |p: &mut Policy| {
        let above = Rate { count: 1, per: SECOND };
        p.synguards.push(Synguard { name: "s".into(), span: p.sets[0].span, above, mss: 1460 });
        stage(p, StageKind::Synguard { synguard: SynguardId(0), bad: exit() });
    };
    assert_eq!(refused(synguard), ["N0502", "N0522"]);
}

#[test]
fn fields_are_refused_with_what_they_name() {
    let interface = |p: &mut Policy| {
        let (name, span) = ("lan".into(), p.sets[0].span);
        p.interfaces.push(Interface { name, span, devices: vec!["eth0".into()], mtu: None });
    };
    assert_eq!(refused(interface), [""; 0]);
    let iface = |p: &mut Policy| {
        interface(p);
        ask(p, Field::Iface, Values::Ranges(vec![(1, 1)]));
    };
    assert_eq!(refused(iface), ["N0504", "N0518"]);
    assert_eq!(refused(|p| ask(p, Field::Payload, Values::Prefixes(vec![vec![1]]))), ["N0519"]);
    let name = NamePattern { name: "a.example".into(), below: false };
    assert_eq!(refused(|p| ask(p, Field::Sni, Values::Names(vec![name]))), ["N0520"]);
    let dynamic = |p: &mut Policy| p.sets[0].dynamic = Some(Dynamic { ttl: None });
    assert_eq!(refused(dynamic), ["N0505"]);
}

#[test]
fn a_side_is_refused_once_and_only_where_it_is_asked_for() {
    let by_iface = |p: &mut Policy| {
        let span = p.sides[0].span;
        let values = Values::Ranges(vec![(0, 0)]);
        let test =
            Test { field: Field::Iface, negated: false, values, sets: Vec::new(), text: String::new(), span };
        p.sides[0].guard = Some(Guard::Test(test));
    };
    assert_eq!(refused(by_iface), ["N0518"]);
    let unasked = |p: &mut Policy| {
        by_iface(p);
        arms(p).arms.remove(0);
    };
    assert_eq!(refused(unasked), [""; 0]);
}

#[test]
fn pools_and_trackers_are_refused_only_where_a_chain_leads_to_them() {
    type Change = fn(&mut Pool);
    let changes: [(&str, Change); 4] = [
        ("N0508", |pool| pool.via = Via::L2dsr),
        ("N0508", |pool| pool.via = Via::Ipip),
        ("N0508", |pool| pool.via = Via::Gue { port: 6080 }),
        ("N0507", |pool| {
            let (interval, timeout) = (SECOND, SECOND);
            let (check, span) = (HealthCheck::Tcp, pool.span);
            pool.health = Some(Health { span, check, port: None, interval, timeout, fall: 1, rise: 1 });
        }),
    ];
    for (code, change) in changes {
        assert_eq!(refused(|p| change(&mut p.pools[0])), [code]);
        let aside = |p: &mut Policy| change(&mut p.pools[1]);
        // An image lists the backends of all pools; only their ways and picks go with a stage.
        assert_eq!(refused(aside), [""; 0], "{code}");
    }
}

#[test]
fn ends_and_unwritten_exits_are_refused() {
    assert_eq!(refused(|p| arms(p).arms[1].chain.tail = Tail::End(End::Reject, p_span())), ["N0513"]);
    assert_eq!(refused(|p| arms(p).arms[1].chain.tail = Tail::End(End::ReplyRst, p_span())), ["N0514"]);
    // `translate back` has an exit that is not written, and so has `track`.
    assert_eq!(refused(|p| p.default = DefaultEnd::Reject), ["N0517", "N0517"]);
}

fn p_span() -> policy_lang::source::Span {
    sound().span
}

#[test]
fn everything_is_told_in_one_run() {
    let everything = |p: &mut Policy| {
        p.default = DefaultEnd::Reject;
        p.sets[0].dynamic = Some(Dynamic { ttl: None });
        p.pools[0].via = Via::L2dsr;
        ask(p, Field::Payload, Values::Prefixes(vec![vec![1]]));
    };
    assert_eq!(refused(everything), ["N0508", "N0517", "N0505", "N0519", "N0517"]);
}
