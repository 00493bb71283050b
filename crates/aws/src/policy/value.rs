//! Values that conditions compare as something else than text: numbers, dates, addresses.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr};
use time::{Date, Month, OffsetDateTime, Time, UtcOffset};

/// Characters of a number.
const NUMBER_CHARS_MAX: usize = 64;

/// A decimal number of any size, without an exponent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Number {
    negative: bool,
    /// Digits before the point, without leading zeros.
    whole: String,
    /// Digits after the point, without trailing zeros.
    fraction: String,
}

impl Number {
    pub(super) fn parse(text: &str) -> Option<Number> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return None,
            None => (digits, ""),
        };
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if text.len() > NUMBER_CHARS_MAX || whole.is_empty() || !plain(whole) || !plain(fraction) {
            return None;
        }
        let whole = whole.trim_start_matches('0').to_owned();
        let fraction = fraction.trim_end_matches('0').to_owned();
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Number {
            negative: negative && !zero,
            whole,
            fraction,
        })
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        let size = || {
            (self.whole.len(), &self.whole, &self.fraction).cmp(&(
                other.whole.len(),
                &other.whole,
                &other.fraction,
            ))
        };
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => size(),
            (true, true) => size().reverse(),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Reads a point in time: one of the forms of <https://www.w3.org/TR/NOTE-datetime> or seconds since 1970. Four digits are a
/// year. The result is in nanoseconds since 1970.
pub(super) fn date(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && text.len() != 4 {
        let seconds: i64 = text.parse().ok()?;
        return Some(i128::from(seconds) * 1_000_000_000);
    }
    let (day, clock) = match text.split_once('T') {
        Some((day, clock)) => (day, Some(clock)),
        None => (text, None),
    };
    let mut parts = day.split('-');
    let year = number(parts.next()?, 4)?;
    let month = parts.next().map_or(Some(1), |part| number(part, 2))?;
    let of_month = parts.next();
    let day = of_month.map_or(Some(1), |part| number(part, 2))?;
    if parts.next().is_some() || (clock.is_some() && of_month.is_none()) {
        return None;
    }
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let year = i32::try_from(year).ok()?;
    let date = Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok()?;
    let (time, offset) = match clock {
        Some(clock) => time_of_day(clock)?,
        None => (Time::MIDNIGHT, UtcOffset::UTC),
    };
    let moment = date.with_time(time).assume_offset(offset);
    Some(moment.unix_timestamp_nanos())
}

/// `hh:mm`, `hh:mm:ss` or `hh:mm:ss.s`, with a zone.
fn time_of_day(text: &str) -> Option<(Time, UtcOffset)> {
    let zone_at = text.find(['Z', '+', '-'])?;
    let (clock, zone) = text.split_at(zone_at);
    let (clock, fraction) = match clock.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (clock, None),
    };
    let mut parts = clock.split(':');
    let hour = number(parts.next()?, 2)?;
    let minute = number(parts.next()?, 2)?;
    let second = parts.next();
    if parts.next().is_some() || (fraction.is_some() && second.is_none()) {
        return None;
    }
    let second = second.map_or(Some(0), |part| number(part, 2))?;
    let nanosecond = match fraction {
        Some(digits) if digits.len() <= 9 => number(&format!("{digits:0<9}"), 9)?,
        Some(_) => return None,
        None => 0,
    };
    let part = |value: u32| u8::try_from(value).ok();
    let time = Time::from_hms_nano(part(hour)?, part(minute)?, part(second)?, nanosecond).ok()?;
    Some((time, offset(zone)?))
}

fn offset(zone: &str) -> Option<UtcOffset> {
    if zone == "Z" {
        return Some(UtcOffset::UTC);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let part = |text: &str, max: u32| {
        let value = number(text, 2).filter(|value| *value <= max)?;
        i8::try_from(value).ok().map(|value| value * sign)
    };
    UtcOffset::from_hms(part(hours, 23)?, part(minutes, 59)?, 0).ok()
}

/// A number of exactly that many digits.
fn number(text: &str, digits: usize) -> Option<u32> {
    let ok = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    ok.then(|| text.parse().ok())?
}

/// `2023-11-14T22:13:20Z` for seconds since 1970; the number itself outside the calendar.
pub fn written_date(seconds: i64) -> String {
    let Ok(moment) = OffsetDateTime::from_unix_timestamp(seconds) else {
        return seconds.to_string();
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        moment.year(),
        u8::from(moment.month()),
        moment.day(),
        moment.hour(),
        moment.minute(),
        moment.second()
    )
}

/// A range of addresses (RFC 4632, RFC 4291).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `203.0.113.0/24`, `2001:db8::/32` or one address. An IPv4 range written as mapped IPv6 is the IPv4 range.
    pub(super) fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().ok()?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(text) if text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse::<u8>().ok().filter(|prefix| *prefix <= bits)?
            }
            Some(_) => return None,
            None => bits,
        };
        Some(match (base.to_canonical(), base) {
            (IpAddr::V4(base), IpAddr::V6(_)) if prefix >= 96 => Network {
                base: IpAddr::V4(base),
                prefix: prefix - 96,
            },
            _ => Network { base, prefix },
        })
    }

    /// Whether an address is in the range. A mapped IPv4 address is the IPv4 address, or a range could be evaded by the
    /// kind of socket a request came through.
    pub(super) fn contains(&self, address: &str) -> bool {
        let Ok(address) = address.parse::<IpAddr>() else {
            return false;
        };
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let kept = |ip: Ipv4Addr| u64::from(u32::from(ip)) >> (32 - self.prefix);
                kept(base) == kept(address)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                let kept = |bits: u128| bits.checked_shr(shift).unwrap_or(0);
                kept(base.into()) == kept(address.into())
            }
            _ => false,
        }
    }
}
