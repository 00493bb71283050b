//! Dates. The wall clock is read by the workers' sweeps and here only; everything else counts from the process's epoch.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_MS: u64 = 86_400_000;

/// Milliseconds since 1970.
#[allow(clippy::disallowed_methods, reason = "this is the edge")]
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, millis)
}

/// A worker's way from its own milliseconds to dates.
#[derive(Debug, Default)]
pub struct Calendar {
    /// Milliseconds since 1970 at the process's epoch, as of the last look at the clock.
    epoch_ms: Cell<u64>,
    /// The second written last, and how it was written.
    second: Cell<Option<u64>>,
    stamp: Cell<[u8; 24]>,
}

impl Calendar {
    /// Looks at the wall clock, which may have been set.
    pub fn set(&self, since_epoch_ms: u64) {
        self.epoch_ms.set(wall_ms().saturating_sub(since_epoch_ms));
    }

    /// Milliseconds since 1970.
    pub fn wall_ms(&self, since_epoch_ms: u64) -> u64 {
        self.epoch_ms.get() + since_epoch_ms
    }

    /// The date in the form of [`timestamp`]. The same second as the last one costs little.
    pub fn timestamp(&self, wall_ms: u64) -> [u8; 24] {
        let second = Some(wall_ms / 1_000);
        if self.second.get() != second {
            self.second.set(second);
            self.stamp.set(timestamp(wall_ms));
        }
        let mut stamp = self.stamp.get();
        digits(&mut stamp[20..23], wall_ms % 1_000);
        stamp
    }
}

/// Microseconds in 64 bits, which are enough for half a million years.
pub fn micros(time: Duration) -> u64 {
    let seconds = time.as_secs().saturating_mul(1_000_000);
    seconds.saturating_add(u64::from(time.subsec_micros()))
}

/// Milliseconds in 64 bits.
pub fn millis(time: Duration) -> u64 {
    let seconds = time.as_secs().saturating_mul(1_000);
    seconds.saturating_add(u64::from(time.subsec_millis()))
}

fn digits(out: &mut [u8], mut number: u64) {
    for place in out.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of a number of days since 1970-01-01 in the Gregorian calendar. Years are counted from March, so
/// that the leap day is the last of its year; 400 years have 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year, month + 3);
    match month {
        13.. => (year + 1, month - 12, day),
        _ => (year, month, day),
    }
}

/// `2026-11-25T20:22:28.123Z` (RFC 3339).
pub fn timestamp(wall_ms: u64) -> [u8; 24] {
    let mut out = *b"0000-00-00T00:00:00.000Z";
    let (year, month, day) = civil(wall_ms / DAY_MS);
    let ms = wall_ms % DAY_MS;
    digits(&mut out[0..4], year);
    digits(&mut out[5..7], month);
    digits(&mut out[8..10], day);
    digits(&mut out[11..13], ms / 3_600_000);
    digits(&mut out[14..16], ms / 60_000 % 60);
    digits(&mut out[17..19], ms / 1_000 % 60);
    digits(&mut out[20..23], ms % 1_000);
    out
}

/// `Wed, 25 Nov 2026 20:22:28 GMT` (RFC 9110 section 5.6.7).
pub fn http_date(wall_ms: u64) -> [u8; 29] {
    const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let days = wall_ms / DAY_MS;
    let (year, month, day) = civil(days);
    let (weekday, month) = ((days % 7) as usize * 3, (month - 1) as usize * 3);
    out[0..3].copy_from_slice(&DAYS[weekday..weekday + 3]);
    digits(&mut out[5..7], day);
    out[8..11].copy_from_slice(&MONTHS[month..month + 3]);
    digits(&mut out[12..16], year);
    let ms = wall_ms % DAY_MS;
    digits(&mut out[17..19], ms / 3_600_000);
    digits(&mut out[20..22], ms / 60_000 % 60);
    digits(&mut out[23..25], ms / 1_000 % 60);
    out
}

/// The date of an answer that is sent now.
pub fn date_now() -> [u8; 29] {
    http_date(wall_ms())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wall_ms: u64, stamp: &str, date: &str) {
        assert_eq!(timestamp(wall_ms), stamp.as_bytes());
        assert_eq!(http_date(wall_ms), date.as_bytes());
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        check(
            0,
            "1970-01-01T00:00:00.000Z",
            "Thu, 01 Jan 1970 00:00:00 GMT",
        );
        check(
            784_111_777_000,
            "1994-11-06T08:49:37.000Z",
            "Sun, 06 Nov 1994 08:49:37 GMT",
        );
        check(
            951_782_400_001,
            "2000-02-29T00:00:00.001Z",
            "Tue, 29 Feb 2000 00:00:00 GMT",
        );
        check(
            1_709_251_199_999,
            "2024-02-29T23:59:59.999Z",
            "Thu, 29 Feb 2024 23:59:59 GMT",
        );
        check(
            4_107_542_400_000,
            "2100-03-01T00:00:00.000Z",
            "Mon, 01 Mar 2100 00:00:00 GMT",
        );
    }

    #[test]
    fn a_second_is_written_once() {
        let calendar = Calendar::default();
        for ms in [0, 999, 1_000, 1_001, 951_782_400_001, 951_782_400_002] {
            assert_eq!(calendar.timestamp(ms), timestamp(ms));
        }
    }
}
