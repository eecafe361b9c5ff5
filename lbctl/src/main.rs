//! Owns argv, the terminal, files and exit codes, and calls one file per verb in `commands`.
//! Never a rule of the language, a meaning of a policy, or a word to the kernel.
#![forbid(unsafe_code)]

mod agent_process;
mod args;
mod bench;
mod certificates;
mod client;
mod commands;
mod console;
mod demo;
mod doctor;
mod files;
mod findings;
mod graph;
mod policy_file;
mod privileges;
mod source_ports;
mod table;
mod watch;
mod way;

use std::process::ExitCode;

use clap::Parser;

use crate::console::Console;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        // clap has its own colours, streams and exit codes: 0 for help and version, 2 for a usage error.
        Err(answer) => {
            let _ = answer.print();
            return ExitCode::from(answer.exit_code().clamp(0, 2) as u8);
        }
    };
    let mut console = Console::new();
    let exit = match commands::run(&args.verb, &mut console) {
        Ok(exit) => exit,
        Err(failure) => {
            console.error(&failure.to_string());
            console::Exit::Failed
        }
    };
    match console.flush() {
        Ok(()) => ExitCode::from(exit as u8),
        Err(failure) => {
            console.error(&failure.to_string());
            ExitCode::from(console::Exit::Failed as u8)
        }
    }
}
