//! Owns whether a packet met what was expected, and the words for both. Never the running of packets.

use std::net::{IpAddr, Ipv6Addr};

use lb_abi::bundle::Image;
use lb_abi::maps::Addr;
use lb_abi::reason::REASONS;
use policy_lang::policy::{End, Outcome, Policy, PoolId, Via};

use crate::eval::{Answer, Run, Sent, Verdict, backend_ordinals};
use crate::packet::{addr, parse, unwrapped};

pub(super) fn is_met(policy: &Policy, outcome: &Outcome, run: &Run) -> bool {
    let is_forward = run.verdict == Verdict::Forward;
    let sent = run.sent.and_then(|sent| ordinal(policy, sent)).map(|found| (found.pool, found.index));
    match outcome {
        Outcome::End(end) => match run.verdict {
            Verdict::Drop => *end == End::Drop,
            Verdict::Pass => *end == End::Pass,
            Verdict::Forward => *end == End::Forward,
            Verdict::Reply(answer) => answered_by(answer) == Some(*end),
            Verdict::Held => false,
        },
        Outcome::ReplyCookie => run.verdict == Verdict::Reply(Answer::Cookie),
        Outcome::ForwardPool(pool) => is_forward && sent.is_some_and(|(found, _)| found == *pool),
        Outcome::ForwardBackend(pool, index) => is_forward && sent == Some((*pool, *index as usize)),
        Outcome::ForwardTo(ip, port) => {
            let left = run.frame.as_deref().and_then(|frame| parse(frame).ok());
            is_forward
                && left.is_some_and(|left| {
                    let is_port = |port| left.ports().is_some_and(|(_, dport)| dport == port);
                    left.dst == addr(*ip) && port.is_none_or(is_port)
                })
        }
    }
}

/// The end that an answer is of; those of stages are of none.
fn answered_by(answer: Answer) -> Option<End> {
    match answer {
        Answer::Echo => Some(End::ReplyEcho),
        Answer::Reject => Some(End::Reject),
        Answer::Rst => Some(End::ReplyRst),
        Answer::Cookie | Answer::Acknowledgement => None,
    }
}

fn ordinal(policy: &Policy, sent: Sent) -> Option<crate::eval::Ordinal> {
    backend_ordinals(policy).nth(sent.backend as usize)
}

/// Names of pool and backend, and the address, that a packet was sent to.
pub(super) fn backend(policy: &Policy, run: &Run) -> Option<(String, String, Addr)> {
    let found = ordinal(policy, run.sent?)?;
    let pool = policy.pools.get(found.pool.index())?;
    let backend = pool.backends.get(found.index)?;
    Some((pool.name.clone(), backend.name.clone(), found.addr))
}

/// The same by the image's ordinals.
pub(super) fn backend_by_tables(image: &Image, run: &Run) -> Option<(String, String, Addr)> {
    let backend = image.backends.get(run.sent?.backend as usize)?;
    let pool = image.pools.get(backend.pool as usize)?;
    Some((pool.name.clone(), backend.name.clone(), backend.addr))
}

/// As written after `=>`.
pub(super) fn expected(policy: &Policy, outcome: &Outcome) -> String {
    let pool_named = |id: &PoolId| policy.pools.get(id.index());
    match outcome {
        Outcome::End(end) => end_word(*end).to_owned(),
        Outcome::ReplyCookie => "reply cookie".to_owned(),
        Outcome::ForwardPool(id) => {
            format!("forward {}", pool_named(id).map_or("", |pool| pool.name.as_str()))
        }
        Outcome::ForwardBackend(id, index) => {
            let backend = pool_named(id).and_then(|pool| pool.backends.get(*index as usize));
            format!("forward {}", backend.map_or("", |backend| backend.name.as_str()))
        }
        Outcome::ForwardTo(ip, port) => format!("forward {}", endpoint(*ip, *port)),
    }
}

pub(crate) fn end_word(end: End) -> &'static str {
    match end {
        End::Drop => "drop",
        End::Pass => "pass",
        End::Forward => "forward",
        End::ReplyEcho => "reply echo",
        End::Reject => "reject",
        End::ReplyRst => "reply rst",
    }
}

pub(crate) fn evaluated(policy: &Policy, run: &Run) -> String {
    got(run, backend(policy, run), via(policy, run))
}

pub(super) fn by_tables(image: &Image, run: &Run) -> String {
    got(run, backend_by_tables(image, run), None)
}

/// What became of a packet: the end, the backend with the tuple it left with, the reason of a drop.
fn got(run: &Run, backend: Option<(String, String, Addr)>, via: Option<Via>) -> String {
    let mut text = match run.verdict {
        Verdict::Drop => "drop".to_owned(),
        Verdict::Pass => "pass".to_owned(),
        Verdict::Forward => "forward".to_owned(),
        Verdict::Reply(Answer::Cookie) => "reply cookie".to_owned(),
        Verdict::Reply(Answer::Acknowledgement) => "acknowledged in the client's name".to_owned(),
        Verdict::Reply(answer) => answered_by(answer).map_or("", end_word).to_owned(),
        Verdict::Held => "held until its hello is whole".to_owned(),
    };
    if let Some((_, name, _)) = backend {
        text += &format!(" {name}");
    }
    if run.verdict == Verdict::Forward
        && let Some(frame) = run.frame.as_deref()
    {
        let within = via.and_then(|via| unwrapped(frame, via));
        text += &sent(within.as_deref().unwrap_or(frame));
        if let (Some(via), Some(_)) = (via, within) {
            text += &format!(", {}", around(frame, via));
        }
    }
    if let Some(reason) = run.reason {
        let name = REASONS.iter().find(|(listed, _)| *listed == reason).map_or("", |(_, name)| name);
        text += &format!(" ({name})");
    }
    text
}

/// The tuple that a frame leaves with, behind a comma.
pub(super) fn sent(frame: &[u8]) -> String {
    let Ok(left) = parse(frame) else { return String::new() };
    let (sport, dport) = left.ports().unzip();
    format!(", {} to {}", endpoint(ip(left.src), sport), endpoint(ip(left.dst), dport))
}

/// How the pool that a packet was sent to reaches its backends.
pub(crate) fn via(policy: &Policy, run: &Run) -> Option<Via> {
    policy.pools.get(run.sent?.pool as usize).map(|pool| pool.via)
}

/// `within ipip to 10.0.1.11`.
pub(crate) fn around(frame: &[u8], via: Via) -> String {
    let word = match via {
        Via::Nat | Via::L2dsr => return String::new(),
        Via::Ipip => "ipip",
        Via::Gue { .. } => "gue",
    };
    let Ok(outer) = parse(frame) else { return String::new() };
    format!("within {word} to {}", endpoint(ip(outer.dst), outer.ports().map(|(_, dport)| dport)))
}

pub(crate) fn ip(addr: Addr) -> IpAddr {
    Ipv6Addr::from(addr).to_canonical()
}

pub(crate) fn endpoint(ip: IpAddr, port: Option<u16>) -> String {
    match (ip, port) {
        (ip, None) => ip.to_string(),
        (ip, Some(port)) => std::net::SocketAddr::new(ip, port).to_string(),
    }
}
