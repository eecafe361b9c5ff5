//! Owns the meaning of a policy for one packet: the typed tree walked arm by arm, as `docs/packet-path.md` says, slow
//! and obviously right. Never lowering, classes or tables: it is what those are held against.

mod guards;
mod params;
mod slots;
pub mod stages;
mod state;
mod walk;

pub use guards::number;
pub use params::{Ordinal, backend_ordinals};
pub use state::{FlowTable, Learned, State};
pub use walk::Evaluator;

use lb_abi::reason::Reason;
use lb_abi::seen::{MAC_BYTES, Seen};
use policy_lang::policy::{Field, Policy};
use policy_lang::source::Span;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Drop,
    /// To the local stack, as it came.
    Pass,
    /// Sent on, rewritten.
    Forward,
    /// Answered out of the device it came in by.
    Reply(Answer),
    /// Kept back by `map` until the hello that it is part of is whole.
    Held,
}

/// What a packet was answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// By `reply echo`.
    Echo,
    /// By `reject`: an ICMP or ICMPv6 error, or an RST.
    Reject,
    /// By `reply rst`.
    Rst,
    /// By `synguard`: SYN and ACK with a cookie.
    Cookie,
    /// The backend of a connection that began with a cookie, in the client's name.
    Acknowledgement,
}

/// What one packet met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    pub verdict: Verdict,
    /// Why it ended outside of the written tree; `None` if the tree's own end decided.
    pub reason: Option<Reason>,
    /// Every reason counted in `REASONS`, in order.
    pub counted: Vec<Reason>,
    /// The frame as it leaves, MAC addresses as they came (a reply's swapped); `None` if dropped.
    pub frame: Option<Vec<u8>>,
    pub sent: Option<Sent>,
    /// The name of each `log` that wrote the packet down, in order.
    pub logged: Vec<String>,
    pub path: Vec<PathStep>,
}

/// Where `translate` sent a forwarded packet, by ordinal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    pub pool: u32,
    /// Of the backend's address.
    pub backend: u32,
}

/// How the way of a packet ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    pub verdict: Verdict,
    pub reason: Option<Reason>,
    pub frame: Option<Vec<u8>>,
    pub sent: Option<Sent>,
}

impl Ended {
    pub fn dropped(reason: Option<Reason>) -> Ended {
        Ended { verdict: Verdict::Drop, reason, frame: None, sent: None }
    }
}

impl Run {
    pub fn new(ended: Ended, counted: Vec<Reason>, path: Vec<PathStep>) -> Run {
        let Ended { verdict, reason, frame, sent } = ended;
        Run { verdict, reason, counted, frame, sent, logged: Vec::new(), path }
    }

    /// What can be seen of it from outside.
    pub fn seen(&self) -> Seen {
        match self.verdict {
            Verdict::Pass => Seen::Pass,
            Verdict::Forward | Verdict::Reply(_) => {
                Seen::Sent(self.frame.iter().flatten().skip(MAC_BYTES).copied().collect())
            }
            Verdict::Drop | Verdict::Held => Seen::Drop,
        }
    }
}

/// One decision on the way, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathStep {
    pub kind: StepKind,
    /// Where it is written; `None` before the tree and in the tables' walk.
    pub span: Option<Span>,
    /// As written, or a short name.
    pub text: String,
    /// The fields that a guard looked at, a side's own included; empty for everything else.
    pub fields: Vec<Field>,
    /// What a guard or a stage saw, where no field of the packet says it: the certificate, the name asked for.
    /// Empty for everything else.
    pub seen: String,
}

impl PathStep {
    /// A step that looked at no field.
    pub fn new(kind: StepKind, span: Option<Span>, text: impl Into<String>) -> PathStep {
        PathStep { kind, span, text: text.into(), fields: Vec::new(), seen: String::new() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepKind {
    /// Decided before the tree; the text is the reason.
    Before,
    /// A tree by name.
    Tree,
    /// A comparison that was looked at, and whether it held.
    Guard {
        held: bool,
    },
    /// The arm taken.
    Arm,
    /// `else` was taken.
    Else,
    /// The way that `every` took, 1-based.
    Turn(u32),
    /// A stage, and the exit it was left by.
    Stage {
        exit: Option<&'static str>,
    },
    /// A stage that dropped the packet itself; the text is the reason.
    Refused,
    End,
    /// A node of the image, by offset.
    Node(u32),
}

/// Runs one frame through the policy. For many packets keep an `Evaluator`: it holds the pools' slot tables.
pub fn run(policy: &Policy, state: &mut State, frame: &[u8]) -> Run {
    Evaluator::new(policy).run(state, frame)
}

#[cfg(test)]
mod tests;
