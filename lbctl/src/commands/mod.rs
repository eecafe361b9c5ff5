//! One file per verb.

pub mod agent;
pub mod apply;
pub mod bench;
pub mod cert;
pub mod check;
pub mod compile;
pub mod demo;
pub mod detach;
pub mod diff;
pub mod doctor;
pub mod explain;
pub mod explain_code;
pub mod fmt;
pub mod graph;
pub mod import;
pub mod send;
pub mod sessions;
pub mod status;
pub mod test;

use crate::args::Verb;
use crate::console::{Console, Outcome};

pub fn run(verb: &Verb, console: &mut Console) -> Outcome {
    match verb {
        Verb::Check(args) => check::run(args, console),
        Verb::Test(args) => test::run(args, console),
        Verb::Explain(args) => explain::run(args, console),
        Verb::ExplainCode(args) => explain_code::run(args, console),
        Verb::Graph(args) => graph::run(args, console),
        Verb::Diff(args) => diff::run(args, console),
        Verb::Fmt(args) => fmt::run(args, console),
        Verb::Import(args) => import::run(args, console),
        Verb::Compile(args) => compile::run(args, console),
        Verb::Apply(args) => apply::run(args, console),
        Verb::Status(args) => status::run(args, console),
        Verb::Sessions(args) => sessions::run(args, console),
        Verb::Cert(args) => cert::run(args, console),
        Verb::Send(args) => send::run(args, console),
        Verb::Detach(args) => detach::run(args, console),
        Verb::Agent(args) => agent::run(args, console),
        Verb::Bench(args) => bench::run(args, console),
        Verb::Doctor(args) => doctor::run(args, console),
        Verb::Demo(args) => demo::run(args, console),
    }
}
