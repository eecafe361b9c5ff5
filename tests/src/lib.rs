//! Owns what tests across crates share: frames, random policies and traffic, replayed cases, the differential run.
//! Never an assertion about one crate alone: those stand beside that crate's code.
#![forbid(unsafe_code)]

pub mod accepted;
pub mod any_text;
pub mod balancer;
pub mod case;
pub mod certificate_text;
pub mod certified;
pub mod cli;
pub mod damage;
pub mod differential;
pub mod flood;
pub mod frame;
pub mod kernel;
pub mod many_arms;
pub mod mutate;
pub mod oracle;
pub mod policy_text;
pub mod probes;
pub mod shrink;
pub mod signed;
pub mod signer;
pub mod sockets;
pub mod traffic;
pub mod vocabulary;
pub mod walker;
