use lb_abi::bundle::Image;
use lb_abi::image::{H_ENTRY, H_LEN, MAX_STEPS, N_NEXT, N_OP, N_P0, N_P1, OP_DECIDE};
use lb_abi::reason::Reason;
use policy_lang::policy::Policy;
use proptest::prelude::*;

use super::{Corrupt, Place, from_bytes, id, to_bytes, to_text, validate};
use crate::eval::State;
use crate::packet::build_in;
use crate::random::{Dice, certified, compiled, packet, signed};
use crate::tables;

fn image(choices: &[u32]) -> Image {
    compiled(choices).expect("a small policy").1
}

/// A policy without certificates or with them.
fn either(choices: &[u32]) -> Result<(Policy, Image), TestCaseError> {
    if choices[0].is_multiple_of(2) { compiled(&choices[1..]) } else { certified(&choices[1..]) }
}

fn choices() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(any::<u32>(), 100..600)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn compiled_images_are_sound_and_come_back_from_their_bytes(choices in choices()) {
        let (_, image) = either(&choices)?;
        prop_assert_eq!(validate(&image), Ok(()));
        let bytes = to_bytes(&image);
        prop_assert_eq!(from_bytes(&bytes), Ok(image.clone()));
        prop_assert!(!to_text(&image).contains("corrupt"));
    }

    #[test]
    fn damaged_bytes_are_refused(choices in choices(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (_, image) = either(&choices)?;
        let mut bytes = to_bytes(&image);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        // Names and places are outside of the id; everything else is not.
        if let Ok(read) = from_bytes(&bytes) {
            prop_assert_eq!(read.words, image.words);
        }
        prop_assert!(from_bytes(&bytes[..at]).is_err());
    }

    /// What validation lets pass leads no packet astray, whatever its words say.
    #[test]
    fn sound_words_lead_somewhere(
        choices in choices(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0usize..4, any::<u32>()), 1..3),
        packets in prop::collection::vec(any::<u32>(), 12 * 10),
    ) {
        let (policy, mut image) = either(&choices)?;
        for (at, how, value) in damage {
            let other = image.words[value as usize % image.words.len()];
            let at = at.index(image.words.len().min(1_000));
            image.words[at] = match how {
                0 => value,
                1 => image.words[at] ^ 1 << (value % 32),
                2 => image.words[at].wrapping_add(value % 16),
                _ => other,
            };
        }
        to_text(&image);
        if validate(&image).is_err() {
            return Ok(());
        }
        let mut state = State { test_keys: true, ..State::new([1, 2]) };
        for choices in packets.chunks(12) {
            let mut spec = packet(&mut Dice::new(choices));
            if !policy.authorities.is_empty() {
                spec = signed(choices, spec);
            }
            let run = tables::run(&image, &mut state, &build_in(&policy, &spec));
            prop_assert_ne!(run.reason, Some(Reason::Steps));
            // A translation that no tracker precedes, and what goes by a certificate that no `verify` found, are faults
            // of the policy, not of the words.
            let is_policys = run.path.last().is_some_and(|step| ["track", "translate"].contains(&&*step.text));
            prop_assert!(run.reason != Some(Reason::BadImage) || is_policys, "{:#?}", run.path);
        }
    }
}

#[test]
fn names_are_no_part_of_the_id_and_words_are() {
    let image = image(&[3; 300]);
    let mut renamed = image.clone();
    renamed.name.push('x');
    renamed.tallies[0].label.push('x');
    renamed.tallies[0].line += 1;
    assert_eq!(id(&renamed), id(&image));
    let mut other = image.clone();
    other.words[N_NEXT] ^= 1;
    assert_ne!(id(&other), id(&image));
    let mut other = image.clone();
    other.tallies[0].identity ^= 1;
    assert_ne!(id(&other), id(&image));
}

#[test]
fn a_cycle_is_found() {
    let mut image = image(&[]);
    let entry = image.words[H_ENTRY];
    assert_eq!(image.words[entry as usize + N_OP], OP_DECIDE);
    let root = image.words[entry as usize + N_P1] as usize;
    image.words[root] = entry;
    assert!(matches!(validate(&image), Err(Corrupt { problem: "more steps than a packet may take", .. })));
    assert!(to_text(&image).contains("more steps"), "{MAX_STEPS}");
}

#[test]
fn the_place_of_a_fault_is_told() {
    let mut image = image(&[]);
    image.words[H_LEN] += 1;
    let corrupt = validate(&image).expect_err("a false length");
    assert_eq!(corrupt.place, Place::Word(H_LEN));
    assert_eq!(corrupt.to_string(), "word 2: not the number of words");
    image.words[H_LEN] -= 1;
    let entry = image.words[H_ENTRY] as usize;
    image.words[entry + N_P0] = 1 << 31;
    assert_eq!(validate(&image).map_err(|corrupt| corrupt.place), Err(Place::Word(entry + N_P0)));
}

#[test]
fn other_files_are_refused() {
    for bytes in [&b""[..], b"lbp 1\npolicy", &[0; 100]] {
        assert!(matches!(from_bytes(bytes), Err(Corrupt { place: Place::Byte(_), .. })));
    }
}
