//! Owns the form of a difference between two policies. Never how it is found or printed.

use policy_lang::policy::PacketSpec;
use policy_lang::source::Span;

use super::slots::Moved;
pub use super::words::Said;
use crate::eval::{PathStep, StepKind};

/// Everything in which two policies differ; places are in the sources of the old or the new one, by position in pairs.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Before the tree.
    pub settings: Vec<Setting>,
    /// Largest first.
    pub changes: Vec<Change>,
    /// Changes that are counted here and not told.
    pub more_changes: usize,
    /// Packets whose fate stays, but not what counts or logs them.
    pub observed: Vec<Change>,
    /// What starts anew although nothing changes for packets.
    pub lost: Vec<Lost>,
}

impl Report {
    /// Whether both policies mean the same: counters, logs and names make no difference.
    pub fn is_equal(&self) -> bool {
        self.settings.is_empty() && self.changes.is_empty()
    }
}

/// A setting about packets that never reach the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    pub name: &'static str,
    /// The packets that it is about, in words.
    pub packets: &'static str,
    pub before: &'static str,
    pub after: &'static str,
    /// One of them, as an Ethernet frame.
    pub frame: Vec<u8>,
}

/// Packets that share why their fate changes.
#[derive(Clone, Debug)]
pub struct Change {
    pub why: Why,
    /// Largest first.
    pub regions: Vec<Region>,
    /// Regions that are not told; `None`: too many to be counted.
    pub more: Option<usize>,
}

#[derive(Clone, Debug)]
pub enum Why {
    /// Other stages or ends: chains of the language.
    Fate { before: String, after: String },
    /// The same stages, but these items are not what they were.
    Items(Vec<ItemChange>),
    /// Other counters and logs, as stages.
    Observed { before: Vec<String>, after: Vec<String> },
}

#[derive(Clone, Debug)]
pub struct ItemChange {
    /// The word that it is declared with.
    pub word: &'static str,
    pub names: (String, String),
    pub places: (Option<Span>, Option<Span>),
    /// Setting, before and after.
    pub settings: Vec<(&'static str, String, String)>,
    /// Of a pool: how its slot tables change, by family.
    pub slots: Vec<Moved>,
}

/// Packets that a guard describes, of those that can exist.
#[derive(Clone, Debug)]
pub struct Region {
    pub guard: Said,
    pub witness: Witness,
}

/// One packet of a region.
#[derive(Clone, Debug)]
pub struct Witness {
    /// As the old and as the new policy knows it: interfaces and certificates go by each one's own numbers.
    pub packets: (PacketSpec, PacketSpec),
    /// The tracker, by name, that must know the packet's flow.
    pub flow: Option<String>,
    /// Its way in each policy, up to where its fate parts.
    pub ways: (Vec<PathStep>, Vec<PathStep>),
    /// What becomes of it as the first packet, where that differs; else the difference takes state.
    pub at_once: Option<(String, String)>,
    /// What it takes for the difference to be seen, each in a few words.
    pub takes: Vec<String>,
}

impl Witness {
    /// Where the last arms before the parting stand, or else the stages or ends there.
    pub fn decided(&self) -> (Option<Span>, Option<Span>) {
        let last = |steps: &[PathStep]| {
            let arm = steps.iter().rev().find(|step| matches!(step.kind, StepKind::Arm | StepKind::Else));
            arm.or(steps.last()).and_then(|step| step.span)
        };
        (last(&self.ways.0), last(&self.ways.1))
    }
}

/// An item that goes on under another name, or counters that do not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Lost {
    /// `limit`, `pool`, …
    pub word: &'static str,
    pub before: String,
    pub after: String,
    /// What that means for packets and people.
    pub loses: String,
}
