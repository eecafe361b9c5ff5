//! Owns making a diverging case small by leaving out steps. Never changes a frame or the policy, and never decides
//! what diverges.

use crate::case::Case;

/// The case with as few steps as removing blocks of halving size gets to, as long as `diverges` holds for it.
pub fn shrink(case: &Case, diverges: impl Fn(&Case) -> bool) -> Case {
    let mut small = case.clone();
    let mut block = small.steps.len().div_ceil(2).max(1);
    loop {
        let mut start = 0;
        while start < small.steps.len() {
            let mut less = small.clone();
            less.steps.drain(start..(start + block).min(small.steps.len()));
            if diverges(&less) {
                small = less;
            } else {
                start += block;
            }
        }
        if block == 1 {
            return small;
        }
        block /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Step;

    #[test]
    fn only_what_matters_is_left() {
        let mut case = Case::new(String::new(), 1);
        case.steps = (0..100).map(|number| Step::Frame(vec![number])).collect();
        let needs = |case: &Case, number| case.steps.contains(&Step::Frame(vec![number]));
        let small = shrink(&case, |case| needs(case, 17) && needs(case, 80));
        assert_eq!(small.steps, [Step::Frame(vec![17]), Step::Frame(vec![80])]);
    }
}
