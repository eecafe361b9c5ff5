//! Owns bytes as text: pairs of hexadecimal digits. Never what the bytes mean.

/// Pairs of digits, with or without `0x` in front and colons between them.
pub(crate) fn hex(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let digits: String = match text.contains(':') {
        true if text.split(':').all(|pair| pair.len() == 2) => text.split(':').collect(),
        true => return None,
        false => text.to_owned(),
    };
    let value = |digit: &u8| char::from(*digit).to_digit(16).map(|value| value as u8);
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(value(high)? << 4 | value(low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn bytes_come_in_pairs_of_digits() {
        assert_eq!(hex("0x16Fe"), Some(vec![0x16, 0xfe]));
        assert_eq!(hex("16:fe"), Some(vec![0x16, 0xfe]));
        for bad in ["0x", "0x1", "", "0x+1", "0xg0", "0xé", "1:6f:e0"] {
            assert_eq!(hex(bad), None, "{bad}");
        }
    }
}
