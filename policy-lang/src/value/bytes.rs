//! Owns bytes as text: pairs of hexadecimal digits. Never what the bytes mean.

/// `0x0102`: at least one pair of digits behind `0x`.
pub(crate) fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").filter(|digits| !digits.is_empty())?;
    pairs(digits)
}

fn pairs(digits: &str) -> Option<Vec<u8>> {
    let is_even = digits.len().is_multiple_of(2) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.as_bytes().chunks(2).map(pair).collect::<Option<Vec<u8>>>().filter(|_| is_even)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_in_pairs_of_digits() {
        assert_eq!(hexadecimal("0x16Fe"), Some(vec![0x16, 0xfe]));
        for bad in ["0x", "0x1", "16fe", "0x+1", "0xg0", "0xé"] {
            assert_eq!(hexadecimal(bad), None, "{bad}");
        }
    }
}
