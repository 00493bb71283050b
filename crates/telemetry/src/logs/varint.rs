//! Numbers of variable length: seven bits a byte, lowest first (protocol buffers, "Base 128 varints").

pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Puts `value` as its difference to `base`, small in either direction when the two are near. Differences wrap, so every pair works.
pub(crate) fn put_difference(out: &mut Vec<u8>, base: u64, value: u64) {
    let difference = value.wrapping_sub(base).cast_signed();
    put(
        out,
        ((difference << 1) ^ (difference >> 63)).cast_unsigned(),
    );
}

pub(crate) fn take_difference(rest: &mut &[u8], base: u64) -> Option<u64> {
    let zigzag = take(rest)?;
    let difference = (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed());
    Some(base.wrapping_add(difference.cast_unsigned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(values: Vec<(u64, u64)>) {
            let mut bytes = Vec::new();
            for (base, value) in &values {
                put(&mut bytes, *value);
                put_difference(&mut bytes, *base, *value);
            }
            let mut rest = &bytes[..];
            for (base, value) in &values {
                prop_assert_eq!(take(&mut rest), Some(*value));
                prop_assert_eq!(take_difference(&mut rest, *base), Some(*value));
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_bytes_are_taken_or_refused_without_a_panic(bytes: Vec<u8>) {
            let mut rest = &bytes[..];
            while take(&mut rest).is_some() {}
        }
    }

    #[test]
    fn near_times_take_one_byte_and_too_long_numbers_none() {
        let mut bytes = Vec::new();
        put_difference(&mut bytes, 1_000_000, 1_000_000 - 60);
        assert_eq!(bytes.len(), 1);
        assert_eq!(take(&mut &[0xff; 11][..]), None);
        assert_eq!(take(&mut &[0x80, 0x80][..]), None);
    }
}
