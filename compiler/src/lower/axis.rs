//! Owns what a diagram can look at: the fields that an image carries, those that it does not carry yet, and whether a set
//! that is filled at run time holds an address. Never values of any of them.

use lb_abi::image::{FIELDS, Field};

/// In the order in which diagrams look at them, which for the image's fields is that of the image.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Axis {
    Of(Field),
    /// 1 + the number of the interface, 0 for a device of none.
    Iface,
    /// A place in `Nested` order of the names that guards ask for.
    Sni,
    /// A place in `Nested` order of the beginnings that guards ask for.
    Payload,
    /// A choice of its own, by number: 0 no, 1 yes. What it stands for is `formula::Free`.
    Free(u16),
}

/// Axes that every policy has.
pub const FIXED: usize = FIELDS + 3;

impl Axis {
    /// 0 to `FIXED - 1`, and from there on what is free.
    pub const fn index(self) -> usize {
        match self {
            Axis::Of(field) => field as usize,
            Axis::Iface => FIELDS,
            Axis::Sni => FIELDS + 1,
            Axis::Payload => FIELDS + 2,
            Axis::Free(number) => FIXED + number as usize,
        }
    }

    /// The axis of an index below `FIXED`.
    pub fn fixed(index: usize) -> Option<Axis> {
        let beyond = [Axis::Iface, Axis::Sni, Axis::Payload];
        let of = lb_abi::image::ALL_FIELDS.get(index).map(|&field| Axis::Of(field));
        of.or_else(|| beyond.get(index.checked_sub(FIELDS)?).copied())
    }

    /// The image's field, if it is one.
    pub fn field(self) -> Option<Field> {
        match self {
            Axis::Of(field) => Some(field),
            _ => None,
        }
    }

    /// Number of values, the absent one not counted; 0 for the addresses.
    pub const fn domain(self) -> u32 {
        match self {
            Axis::Of(field) => field.domain(),
            Axis::Iface => 1 << 16,
            Axis::Sni | Axis::Payload => 1 << 24,
            Axis::Free(_) => 2,
        }
    }

    /// The value of what a packet does not have.
    pub const fn absent(self) -> u32 {
        self.domain()
    }
}

impl From<Field> for Axis {
    fn from(field: Field) -> Axis {
        Axis::Of(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_indices() {
        let mut axes: Vec<Axis> = (0..FIXED).filter_map(Axis::fixed).collect();
        axes.extend([Axis::Free(0), Axis::Free(1)]);
        assert!(axes.is_sorted());
        assert!(axes.iter().enumerate().all(|(at, axis)| axis.index() == at));
        assert_eq!(axes.len(), FIXED + 2);
    }
}
