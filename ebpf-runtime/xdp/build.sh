#!/usr/bin/env bash
# Builds the XDP program and rewrites ../prebuilt/: the object, and a record of what it was made from.
#
#   build.sh          build, then replace prebuilt/lbctl.bpf.o and prebuilt/lbctl.bpf.record
#   build.sh --check  build and compare with the committed bytes, replacing nothing
#
# Exit codes of --check: 0 identical to the bit; 1 differs, though the tools are the recorded ones, or the record is
# not of these sources; 3 other tools, so the bytes can't be compared: run this without --check then, and test what it
# leaves in prebuilt/, without committing it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
runtime=$(dirname "$here")
checkout=$(dirname "$runtime")
prebuilt=$runtime/prebuilt
record=$prebuilt/lbctl.bpf.record
check=false
case "${1-}" in
  "") ;;
  --check) check=true ;;
  *) echo "usage: build.sh [--check]" >&2; exit 2 ;;
esac

# Debian's compiler brings a core for BPF; rustup's nightly builds its own from rust-src.
target=bpfel-unknown-none
cargo_home=${CARGO_HOME:-$HOME/.cargo}
debian=/usr/bin/rustc
if [ -x "$debian" ] && [ -e "$("$debian" --print target-libdir --target $target)" ]; then
  rustc=$debian
  cargo=(env RUSTC_BOOTSTRAP=1 RUSTC="$debian" /usr/bin/cargo)
  core=()
elif rustc=$(rustup which --toolchain nightly rustc 2>/dev/null); then
  cargo=(cargo +nightly)
  core=(-Zbuild-std=core)
else
  echo "no compiler for $target: see docs/toolchain.md" >&2
  exit 2
fi
command -v bpf-linker >/dev/null || { echo "no bpf-linker: see docs/toolchain.md" >&2; exit 2; }
# The kernel reads BTF alone; DWARF is four times the size, and its mangled names change with the place of the checkout.
objcopy=
for name in llvm-objcopy-22 llvm-objcopy "$("$rustc" --print target-libdir)/../bin/rust-objcopy"; do
  if objcopy=$(command -v "$name"); then break; fi
done
[ -n "$objcopy" ] || { echo "no llvm-objcopy: see docs/toolchain.md" >&2; exit 2; }
compiler="$("$rustc" --version), $(bpf-linker --version), $("$objcopy" --version | grep -o 'LLVM version.*')"

# The same list and form as in tests/prebuilt.rs. bundle.rs and seen.rs are left out: they are never compiled into the program.
sources() {
  cd "$runtime"
  find xdp/Cargo.toml xdp/Cargo.lock xdp/build.sh xdp/src abi/Cargo.toml abi/src -type f ! -path abi/src/bundle.rs ! -path abi/src/seen.rs |
    LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1
}

# Paths would differ from place to place; everything else is fixed by Cargo.lock and the compiler.
separator=$'\x1f'
flags="-Cdebuginfo=2${separator}-Clink-arg=--btf${separator}-Clinker=bpf-linker${separator}-Ctarget-cpu=v3"
flags+="${separator}-Ctarget-feature=+allows-misaligned-mem-access"
flags+="${separator}--remap-path-prefix=$checkout=/lbctl${separator}--remap-path-prefix=$cargo_home=/cargo"
cd "$here"
# The folder of a registry is named by its host and a hash that differs between versions of cargo, and is there once
# something was fetched. The last match wins.
"${cargo[@]}" fetch --quiet --locked >&2
for registry in "$cargo_home"/registry/src/*/; do
  flags+="${separator}--remap-path-prefix=${registry%/}=/crates"
done
CARGO_TARGET_DIR=$here/target CARGO_ENCODED_RUSTFLAGS=$flags \
  "${cargo[@]}" build "${core[@]}" --quiet --locked --release --target $target >&2
object=$here/target/lbctl.bpf.o
"$objcopy" --strip-debug "$here/target/$target/release/lbctl" "$object"
# An index that the compiler can't bound calls a function that never returns, which the kernel refuses.
if grep -q panicking "$object"; then
  echo "the program holds a path to a panic: llvm-objdump -drl $here/target/$target/release/lbctl shows its caller" >&2
  exit 1
fi

# A function with a mangled name is one that the compiler did not inline: the name holds a hash of the checkout's place.
if grep -q _RNv "$object"; then
  echo "a mangled name is in the program, which changes with the place of the checkout:" >&2
  strings "$object" 2>/dev/null | grep _RNv >&2 || true
  exit 1
fi

if ! $check; then
  mkdir -p "$prebuilt"
  cp "$object" "$prebuilt/lbctl.bpf.o"
  printf 'compiler %s\nsources %s\nobject %s\n' "$compiler" "$(sources)" \
    "$(sha256sum <"$object" | cut -d' ' -f1)" >"$record"
  echo "rewrote ${prebuilt#"$checkout"/}/ with $compiler"
  exit 0
fi
recorded() { sed -n "s/^$1 //p" "$record"; }
if [ "$(sources)" != "$(recorded sources)" ]; then
  echo "the sources have changed since prebuilt/ was written: run $0" >&2
  exit 1
fi
if [ "$compiler" != "$(recorded compiler)" ]; then
  echo "prebuilt/ was made by $(recorded compiler), here is $compiler: run $0 and test that" >&2
  exit 3
fi
cmp "$object" "$prebuilt/lbctl.bpf.o" >&2 || { echo "the same tools give other bytes" >&2; exit 1; }
echo "identical to the bit, by $compiler"
