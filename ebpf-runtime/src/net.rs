//! Owns what the kernel says about links.
//! Never changes one.
