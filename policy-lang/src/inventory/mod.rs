//! Owns inventories: what stands in a file of TOML or YAML beside a policy or instead of one, from text to items of the
//! language and to a whole policy, with a place for each mistake. Never what a pool or a certificate means, which
//! typing gives to the items made here.

mod balancer;
mod balancer_items;
mod balancer_tree;
mod fields;
mod flows;
mod flows_items;
mod flows_tree;
mod import;
mod items;
mod node;
mod toml;
mod yaml;

pub use import::{Form, Imported, Options, import, is_free};

use crate::ast::Item;
use crate::report::Report;
use crate::source::FileId;

/// So many mistakes in the form of a file are told one by one.
const FORM_FAULTS: usize = 20;

/// The items of a TOML inventory, their words placed in its text; None where something is wrong with it.
pub(crate) fn included(file: FileId, text: &str, report: &mut Report) -> Option<Vec<Item>> {
    let balancer = balancer::read(&toml::read(file, text, report)?, report)?;
    balancer.warn_included(report);
    Some(balancer_items::included(&balancer))
}

/// The names of those items, for a file that cannot be read.
pub(crate) const NAMES: [&str; 3] = [balancer_items::POOL, balancer_items::AUTHORITY, balancer_items::TRACK];
