//! Owns what random policies and packets have of certificates. Never a policy or a packet as a whole.

use std::net::Ipv4Addr;
use std::time::Duration;

use policy_lang::policy::*;

use super::{BACKEND4, Dice, V4, exit, number_test, test, there};

/// One authority of two certificates; keys are those made for tests.
pub fn authorities(dice: &mut Dice<'_>) -> Vec<Authority> {
    let certificate = |dice: &mut Dice<'_>, id: u8| Certificate {
        id,
        span: dice.span(),
        hash: [id; 32],
        key: None,
        valid: dice.of(&[None, None, None, Some((0, i64::MAX)), Some((0, 1))]),
        subject: String::new(),
    };
    let certificates = vec![certificate(dice, 3), certificate(dice, 200)];
    let rate = Rate { count: 100, per: Duration::from_secs(1) };
    vec![Authority {
        name: "devices".to_owned(),
        span: dice.span(),
        certificates,
        revoked: if dice.below(6) == 5 { vec![[3; 32]] } else { Vec::new() },
        every_packet: dice.below(2) == 0,
        strip: dice.below(2) == 0,
        replay: dice.of(&[None, Some(Duration::from_millis(100)), Some(Duration::from_secs(5))]),
        checks: rate,
        checks_per_source: rate,
    }]
}

pub fn key(dice: &mut Dice<'_>) -> TrackKey {
    dice.of(&[TrackKey::Flow, TrackKey::Certificate, TrackKey::Certificate])
}

pub fn pick(dice: &mut Dice<'_>) -> Pick {
    dice.of(&[
        Pick::RoundRobin,
        Pick::LeastConnections,
        Pick::LeastConnections,
        Pick::Certificate,
        Pick::Maglev { slots: 101, by_flow: true },
    ])
}

/// A balancer's two sides, with something beside the certificate that decides now and then.
pub fn arms(dice: &mut Dice<'_>) -> Vec<Arm> {
    let (port, backend) =
        (vec![(443, 443)], AddrSet { v4: vec![(BACKEND4.into(), BACKEND4.into())], v6: vec![] });
    let to = Test { negated: false, ..test(dice, Field::UdpDport, Values::Ranges(port)) };
    let back = Test { negated: false, ..test(dice, Field::Src, Values::Addrs(backend.into())) };
    let forward = |dice: &mut Dice<'_>| Tail::End(End::Forward, dice.span());
    let mut stages = vec![Stage { kind: verify(dice, 0), span: dice.span() }];
    stages.extend(there(dice, 0));
    let mut guard = Guard::Test(to);
    if dice.below(4) == 3 {
        guard = Guard::And(vec![guard, Guard::Test(number_test(dice))]);
    }
    let back_stage = StageKind::TranslateBack { invalid: exit(dice, 0) };
    let back_stages = vec![Stage { kind: back_stage, span: dice.span() }];
    [(guard, stages), (Guard::Test(back), back_stages)]
        .map(|(guard, stages)| {
            let chain = Chain { stages, tail: forward(dice), span: dice.span() };
            Arm { guard, text: "guard".to_owned(), span: dice.span(), chain }
        })
        .into()
}

pub fn verify(dice: &mut Dice<'_>, trees: usize) -> StageKind {
    let exits = VerifyExits {
        missing: exit(dice, trees),
        invalid: exit(dice, trees),
        expired: exit(dice, trees),
        revoked: exit(dice, trees),
        replayed: exit(dice, trees),
    };
    StageKind::Verify { authority: AuthorityId(0), exits: Box::new(exits) }
}

/// The packet, most often UDP of few flows that is signed by one of the two certificates, now and then by nobody's key.
/// `choices` are those that the packet was made of.
pub fn signed(choices: &[u32], spec: PacketSpec) -> PacketSpec {
    let others: Vec<u32> = choices.iter().map(|choice| choice >> 16).collect();
    let dice = &mut Dice::new(&others);
    if dice.below(5) == 0 {
        return spec;
    }
    let (src, dst) = (dice.of(&V4), dice.of(&V4[4..]));
    let proto = ProtoSpec::Udp { sport: dice.of(&[1_000, 1_001]), dport: 443 };
    let certificate = dice.below(2) as u32;
    let signed = Some(Signed { authority: AuthorityId(0), certificate, forged: dice.below(6) == 5 });
    // Most of them over IPv4, so that they meet the flows of others.
    if dice.below(4) > 0 {
        let (src, dst) = (Ipv4Addr::from(src).into(), Ipv4Addr::from(dst).into());
        return PacketSpec { src, dst, proto, signed, frag: 0, ttl: 64, ..spec };
    }
    PacketSpec { proto, signed, frag: 0, ttl: 64, ..spec }
}
