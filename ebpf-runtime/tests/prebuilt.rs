//! The committed object belongs to the committed sources: compares the recorded hash with the tree. Needs no eBPF
//! toolchain; that the bytes are what the compiler makes of them is `xdp/build.sh --check`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { collect(&path, into) } else { into.push(path) }
    }
}

/// As `sha256sum` prints it for the files of `xdp/build.sh`.
fn sources(runtime: &Path) -> String {
    let mut files: Vec<PathBuf> = ["xdp/Cargo.toml", "xdp/Cargo.lock", "xdp/build.sh", "abi/Cargo.toml"]
        .iter()
        .map(|file| runtime.join(file))
        .collect();
    collect(&runtime.join("xdp/src"), &mut files);
    collect(&runtime.join("abi/src"), &mut files);
    let mut names: Vec<String> = files
        .iter()
        .map(|file| file.strip_prefix(runtime).expect("below").to_str().expect("ASCII").to_owned())
        .filter(|name| !["abi/src/bundle.rs", "abi/src/seen.rs"].contains(&name.as_str()))
        .collect();
    names.sort();
    let mut lines = String::new();
    for name in names {
        let bytes = fs::read(runtime.join(&name)).expect("a source");
        writeln!(lines, "{}  {name}", hex(&bytes)).expect("a string takes all");
    }
    hex(lines.as_bytes())
}

#[test]
fn the_prebuilt_object_is_of_these_sources() {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR"));
    let record = fs::read_to_string(runtime.join("prebuilt/lbctl.bpf.record")).expect("a record");
    let recorded = |word: &str| {
        record
            .lines()
            .find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
            .unwrap_or_else(|| panic!("no line `{word}` in the record"))
    };
    assert_eq!(recorded("sources"), sources(runtime), "run ebpf-runtime/xdp/build.sh and commit prebuilt/");
    let object = fs::read(runtime.join("prebuilt/lbctl.bpf.o")).expect("the object");
    assert_eq!(recorded("object"), hex(&object), "prebuilt/lbctl.bpf.o is not the recorded one");
}
