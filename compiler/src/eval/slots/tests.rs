use super::*;

fn candidates<'a>(weights: &[u32], names: &'a [String]) -> Vec<Candidate<'a>> {
    names.iter().zip(weights).map(|(name, &weight)| Candidate { name, weight }).collect()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("backend{number}")).collect()
}

#[test]
fn weights_are_reduced_and_spread() {
    let turns = |weights: &[u32]| slots(Pick::RoundRobin, &candidates(weights, &names(weights.len())));
    assert_eq!(turns(&[100, 100]), [0, 1]);
    assert_eq!(turns(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
    assert_eq!(turns(&[6, 6, 2]), [0, 1, 2, 0, 1, 0, 1]);
    assert_eq!(turns(&[7]), [0]);
    assert_eq!(turns(&[]), [0usize; 0]);
}

#[test]
fn maglev_fills_every_slot_in_proportion_to_the_weights() {
    let names = names(4);
    let table = slots(Pick::Maglev { slots: 4_099, by_flow: true }, &candidates(&[1, 1, 2, 4], &names));
    assert_eq!(table.len(), 4_099);
    let counts: Vec<usize> = (0..4).map(|turn| table.iter().filter(|&&slot| slot == turn).count()).collect();
    for (count, share) in counts.iter().zip([512, 512, 1025, 2050]) {
        assert!(count.abs_diff(share) <= 2, "{counts:?}");
    }
}

#[test]
fn maglev_moves_few_slots_of_the_backends_that_stay() {
    let names = names(20);
    let pick = Pick::Maglev { slots: 65_537, by_flow: true };
    let before = slots(pick, &candidates(&[1; 20], &names));
    let without: Vec<String> = names.iter().filter(|name| *name != "backend7").cloned().collect();
    let after = slots(pick, &candidates(&[1; 19], &without));
    let moved =
        before.iter().zip(&after).filter(|&(&old, &new)| old != 7 && names[old] != without[new]).count();
    assert!(moved * 100 < 65_537 * 2, "{moved}");
}

#[test]
fn the_permutation_is_that_of_the_page() {
    // SHA-256 of "w1" starts with these sixteen bytes.
    let digest = Sha256::digest(b"w1");
    let offset = u64::from_le_bytes(digest[..8].try_into().unwrap()) % 65_537;
    let skip = u64::from_le_bytes(digest[8..16].try_into().unwrap()) % 65_536 + 1;
    assert_eq!(permutation("w1", 65_537), (offset as usize, skip as usize));
}

#[test]
fn a_size_that_is_not_prime_still_fills() {
    let names = names(2);
    for size in [1, 2, 4, 100] {
        let table = slots(Pick::Maglev { slots: size, by_flow: false }, &candidates(&[1, 3], &names));
        assert_eq!(table.len(), size as usize);
    }
}
