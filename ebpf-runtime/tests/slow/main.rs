//! Certificates for real: an agent that checks signatures in a network of namespaces, with clients that sign. Needs root.

#[path = "../packets/build.rs"]
#[allow(dead_code, reason = "the tests of single frames build more kinds of images")]
mod build;
mod changes;
mod faults;
mod serves;
mod world;
