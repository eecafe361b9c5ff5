//! Owns the fuzzing of the image loader: bytes of an image file, and words of a sound image that are patched, so that the
//! id does not stand in the way. What validates leads every packet somewhere. Never a kernel.
#![no_main]

use std::sync::OnceLock;

use compiler::eval::State;
use compiler::image::{from_bytes, to_bytes, to_text, validate};
use compiler::tables;
use lb_abi::bundle::Image;
use lb_abi::reason::Reason;
use libfuzzer_sys::fuzz_target;

/// Small, with every stage that an image carries.
const POLICY: &str = "lbp 1
set friends : net = { 192.0.2.0/24, 2001:db8::/32 }
limit calm { per src v4 /32 v6 /64; rate 10 pkt/s; burst 2; max 100 }
authority devices {
  key 2 0x036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296
  key 7 0x037cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978
  verify once per session; strip; replay 5s
}
track flows { idle 30s; max 100 }
track sessions { key cert; idle 30s; max 10 }
pool app { pick round-robin; via nat; source 10.0.0.1, fd00::1; ports 2000-2009
  backend a 10.0.0.2:80, [fd00::2]:80 weight 2
  backend b 10.0.0.3 drain
}
pool game { pick least-connections; via nat; backend g1 10.0.1.2:90 max_conn 1; backend g2 10.0.1.3, [fd00::3]:90 }
side B when src in app or src in game
side A otherwise
policy p { default drop; fragments match } = match {
  from B                             -> translate back -> forward
  src in friends and udp.dport == 53 -> drop
  flow in flows                      -> count known -> pass
  icmp.type == echo-request          -> limit calm (exceed -> drop) -> reply echo
  tcp.dport in { 80, 443 }           -> track flows -> translate app -> forward
  udp.dport == 90 -> verify devices (invalid -> count forged -> drop) -> track sessions -> match {
    cert.id == 2 -> translate game -> forward
    else         -> pass
  }
  len in 100-200 and ttl != 3        -> every 2 { 1 -> pass; 2 -> drop }
  else                               -> every 3 by flow { 1 -> drop; 2 -> pass; 3 -> forward }
}
";

struct NoFiles;

impl policy_lang::source::Loader for NoFiles {
    fn load(&self, _: &std::path::Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

fn sound() -> &'static Image {
    static SOUND: OnceLock<Image> = OnceLock::new();
    SOUND.get_or_init(|| {
        let checked = policy_lang::check("p.lbp", POLICY.to_owned(), &NoFiles);
        let policy = checked.policy.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
        compiler::compile(&policy, &checked.sources).unwrap_or_else(|refused| panic!("{refused:?}"))
    })
}

fuzz_target!(|data: &[u8]| {
    if let Ok(image) = from_bytes(data) {
        assert_eq!(to_bytes(&image), data, "an image has one form");
    }
    // How many words are patched, where and with what; then frames, each behind its length.
    let Some((&patches, mut rest)) = data.split_first() else { return };
    let mut image = sound().clone();
    for _ in 0..patches % 8 {
        let Some((patch, behind)) = rest.split_at_checked(7) else { break };
        rest = behind;
        let [a, b, how, value @ ..] = patch else { break };
        let at = usize::from(u16::from_le_bytes([*a, *b])) % image.words.len();
        let value = value.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        let other = image.words[value as usize % image.words.len()];
        image.words[at] = match how % 4 {
            0 => value,
            1 => image.words[at] ^ value,
            2 => image.words[at].wrapping_add(value),
            _ => other,
        };
    }
    to_text(&image);
    if validate(&image).is_err() {
        return;
    }
    let mut state = State { test_keys: true, ..State::new([1, 2]) };
    while let Some((&length, behind)) = rest.split_first() {
        let (frame, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        let run = tables::run(&image, &mut state, frame);
        assert_ne!(run.reason, Some(Reason::Steps), "no end within the steps there are");
        // A translation that no tracker precedes, and what goes by a certificate that no `verify` found, are faults of the
        // policy, not of the words.
        let is_policys = run.path.last().is_some_and(|step| ["track", "translate"].contains(&&*step.text));
        assert!(run.reason != Some(Reason::BadImage) || is_policys, "{:#?}", run.path);
    }
});
