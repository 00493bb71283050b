//! The dates of signed requests: ISO 8601 basic (`20261123T064500Z`), or RFC 9110 IMF-fixdate in the `Date` header.

use time::format_description::FormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const BASIC: &[FormatItem<'static>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");
const IMF_FIXDATE: &[FormatItem<'static>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);
const EXTENDED: &[FormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Reads an ISO 8601 basic date as milliseconds since the epoch; none for anything else, also before the epoch.
pub fn parse_basic(text: &str) -> Option<u64> {
    // The parser takes signs and longer years; the wire form is exactly sixteen bytes.
    if text.len() != 16 {
        return None;
    }
    to_ms(PrimitiveDateTime::parse(text, BASIC).ok()?)
}

/// Reads an IMF-fixdate (`Mon, 23 Nov 2026 06:45:00 GMT`) as milliseconds since the epoch.
pub fn parse_imf(text: &str) -> Option<u64> {
    to_ms(PrimitiveDateTime::parse(text, IMF_FIXDATE).ok()?)
}

fn to_ms(date: PrimitiveDateTime) -> Option<u64> {
    u64::try_from(date.assume_utc().unix_timestamp())
        .ok()?
        .checked_mul(1000)
}

/// Writes a point in time in ISO 8601 basic form, seconds only.
pub fn format_basic(ms: u64) -> String {
    to_date(ms)
        .format(BASIC)
        .expect("every clamped date can be written")
}

/// Writes a point in time in ISO 8601 extended form with milliseconds, the form of XML answers.
pub fn format_extended(ms: u64) -> String {
    to_date(ms)
        .format(EXTENDED)
        .expect("every clamped date can be written")
}

/// Clamped to the year 9999.
fn to_date(ms: u64) -> OffsetDateTime {
    const LAST_MS: u64 = 253_402_300_799_999;
    let nanos = i128::from(ms.min(LAST_MS)) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).expect("the year 9999 is within range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_agree() {
        let ms = parse_basic("20150830T123600Z").unwrap();
        assert_eq!(ms, 1_440_938_160_000);
        assert_eq!(parse_imf("Sun, 30 Aug 2015 12:36:00 GMT"), Some(ms));
        assert_eq!(format_basic(ms), "20150830T123600Z");
        assert_eq!(format_extended(ms + 7), "2015-08-30T12:36:00.007Z");
    }

    #[test]
    fn odd_dates_are_refused() {
        for text in [
            "",
            "20150830",
            "20150830T123600",
            "20151330T123600Z",
            "20150830T126000Z",
            "19690101T000000Z",
            "é",
        ] {
            assert_eq!(parse_basic(text), None, "{text}");
        }
        assert_eq!(parse_imf("Sun, 30 Aug 2015 12:36:00 CET"), None);
        assert_eq!(format_basic(u64::MAX), "99991231T235959Z");
    }
}
