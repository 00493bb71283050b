//! Numbers in decimal digits.

/// Writes a number. Those of up to four digits, which most are, without a loop and with copies of a known length.
#[inline]
pub fn number(number: u64, out: &mut Vec<u8>) {
    let pair = |pair: u64| PAIRS[(pair % 100) as usize];
    match number {
        0..10 => out.push(b'0' + number as u8),
        10..100 => out.extend_from_slice(&pair(number)),
        100..1_000 => {
            let [tens, ones] = pair(number);
            out.extend_from_slice(&[b'0' + (number / 100) as u8, tens, ones]);
        }
        1_000..10_000 => {
            let ([first, second], [third, fourth]) = (pair(number / 100), pair(number));
            out.extend_from_slice(&[first, second, third, fourth]);
        }
        _ => long_number(number, out),
    }
}

/// Writes numbers of which most begin as the one before them: moments in time.
#[derive(Debug, Default)]
pub struct Moments {
    begin: u64,
    written: Vec<u8>,
}

impl Moments {
    /// Writes a number.
    pub fn write(&mut self, moment: u64, out: &mut Vec<u8>) {
        let begin = moment / 10_000;
        if begin == 0 {
            return number(moment, out);
        }
        if begin != self.begin {
            self.begin = begin;
            self.written.clear();
            number(begin, &mut self.written);
        }
        out.extend_from_slice(&self.written);
        out.extend_from_slice(&PAIRS[(moment / 100 % 100) as usize]);
        out.extend_from_slice(&PAIRS[(moment % 100) as usize]);
    }
}

fn long_number(mut number: u64, out: &mut Vec<u8>) {
    let (mut digits, mut at) = ([0; 20], 20);
    while number >= 10 {
        let pair = PAIRS[(number % 100) as usize];
        number /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&pair);
    }
    if number > 0 {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// The numbers below 100 in two digits.
const PAIRS: [[u8; 2]; 100] = {
    let (mut pairs, mut at) = ([[0; 2]; 100], 0);
    while at < 100 {
        pairs[at] = [b'0' + at as u8 / 10, b'0' + at as u8 % 10];
        at += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::{Moments, number};

    #[test]
    fn moments_are_written_in_decimal() {
        let mut moments = Moments::default();
        for moment in [
            0,
            9,
            9_999,
            10_000,
            10_001,
            1_764_290_000_123,
            1_764_290_000_999,
            7,
            u64::MAX,
        ] {
            let mut out = Vec::new();
            moments.write(moment, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), moment.to_string());
        }
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        let powers = (0..20).map(|power| 10u64.pow(power));
        let around = powers.flat_map(|power| [power - 1, power, power + 1, power / 7 * 6]);
        for value in around.chain([0, 42, 99, 101, u64::MAX]) {
            let mut out = Vec::new();
            number(value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
