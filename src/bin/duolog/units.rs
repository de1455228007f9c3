//! Sizes, durations and times, as people write and read them.

use std::fmt::Write;
use std::time::Duration;

use duolog::ids::Timestamp;
use jiff::{SignedDuration, Span, SpanRelativeTo};

/// Units of sizes; the first of each size is the one that is printed.
const SIZES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("", 1),
    ("T", 1 << 40),
    ("G", 1 << 30),
    ("M", 1 << 20),
    ("K", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

/// How sizes are written, for help texts.
pub(crate) const SIZE_HELP: &str = "512, 64KiB, 1.5GiB; K, M, G, T are powers of 1024, kB of 1000";

/// Reads a size in bytes: `128MiB`, `1.5 GiB`, `64k`, `10GB`, `512`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size; write {SIZE_HELP}");
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let (_, scale) = SIZES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or_else(wrong)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u128 = whole.parse().map_err(|_| wrong())?;
    let places = u32::try_from(fraction.len()).map_err(|_| wrong())?;
    let fraction: u128 = fraction.parse().map_err(|_| wrong())?;
    let tens = 10_u128.checked_pow(places).ok_or_else(wrong)?;
    let part = fraction.checked_mul(u128::from(*scale)).ok_or_else(wrong)?;
    if part % tens != 0 {
        return Err(format!("{text} is not a whole number of bytes"));
    }
    whole
        .checked_mul(u128::from(*scale))
        .and_then(|bytes| bytes.checked_add(part / tens))
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or_else(|| format!("{text} is more than 16 EiB"))
}

/// Reads a size that an option of 32 bits holds.
pub(crate) fn parse_size_u32(text: &str) -> Result<u32, String> {
    u32::try_from(parse_size(text)?).map_err(|_| format!("{text} is not below 4 GiB"))
}

/// Reads a duration: `500ms`, `30s`, `7d`, `1h30m`. A day has 24 hours.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is not a duration; write 500us, 100ms, 30s, 5m, 2h, 7d, 2w or 1h30m");
    let span: Span = text.trim().parse().map_err(|_| wrong())?;
    let length: SignedDuration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong())?;
    Duration::try_from(length).map_err(|_| wrong())
}

/// Reads a duration; a plain number is milliseconds.
pub(crate) fn parse_duration_ms(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(ms) => Ok(Duration::from_millis(ms)),
        Err(_) => parse_duration(text),
    }
}

/// Reads a point in time: RFC 3339, or milliseconds since 1970.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(ms) = text.parse() {
        return Ok(Timestamp::from_millis(ms));
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        format!(
            "{text:?} is not a time; write 2026-11-03T08:00:00Z (with its offset from UTC) \
             or milliseconds since 1970"
        )
    })?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

/// A size to read: the largest unit that leaves at least 1, one decimal place.
pub(crate) fn size(bytes: u64) -> String {
    let fits = |(_, scale): &&(&str, u64)| bytes >= *scale;
    let (unit, scale) = SIZES.iter().find(fits).unwrap_or(&("B", 1));
    if bytes.is_multiple_of(*scale) {
        return format!("{} {unit}", bytes / scale);
    }
    // In tenths, in integers: a size is never rounded up to what it is not.
    let tenths = u128::from(bytes) * 10 / u128::from(*scale);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// A duration to read, exact: `7d`, `1h 30m`, `100ms`.
pub(crate) fn duration(duration: Duration) -> String {
    const UNITS: &[(&str, u128)] = &[
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let mut left = duration.as_nanos();
    let mut text = String::new();
    for (unit, length) in UNITS {
        if left >= *length {
            let gap = if text.is_empty() { "" } else { " " };
            // A String cannot refuse to grow.
            write!(text, "{gap}{}{unit}", left / length).expect("written to memory");
            left %= length;
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// A count to read, with a comma every three digits.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many things, which a plural by `s` is enough for.
pub(crate) fn counted(n: u64, thing: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_the_units_people_write() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64k", 64 << 10),
            ("128MiB", 128 << 20),
            ("128 mib", 128 << 20),
            ("1.5GiB", 3 << 29),
            ("10GB", 10_000_000_000),
            ("2T", 2 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_in_words() {
        for text in ["", "MiB", "-1", "1.5", "1..5K", "1e3", "10XB", "1.", ".5K"] {
            let error = parse_size(text).unwrap_err();
            assert!(error.len() > 10, "{text}: {error}");
        }
        let error = parse_size("18446744073709551616").unwrap_err();
        assert!(error.contains("16 EiB"), "{error}");
        let error = parse_size_u32("4GiB").unwrap_err();
        assert!(error.contains("4 GiB"), "{error}");
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, ms) in [
            ("100ms", 100),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("2w", 1_209_600_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        assert_eq!(parse_duration("500us"), Ok(Duration::from_micros(500)));
        for text in ["", "5", "-1s", "1 month", "soon"] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains("7d"), "{text}: {error}");
        }
        assert_eq!(parse_duration_ms("5"), Ok(Duration::from_millis(5)));
        assert_eq!(parse_duration_ms("5s"), Ok(Duration::from_secs(5)));
    }

    #[test]
    fn times_are_rfc_3339_or_milliseconds() {
        let ms = |text| parse_time(text).map(Timestamp::millis);
        assert_eq!(ms("1000"), Ok(1000));
        assert_eq!(ms("-1"), Ok(-1));
        assert_eq!(ms("1970-01-01T00:00:01.5Z"), Ok(1500));
        assert_eq!(ms("1970-01-01T01:00:00+01:00"), Ok(0));
        // Without an offset from UTC it would mean another time elsewhere.
        assert!(ms("1970-01-01T00:00:01").is_err());
        assert!(ms("yesterday").is_err());
    }

    #[test]
    fn what_is_printed_is_short_and_never_more_than_there_is() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(128 << 20), "128 MiB");
        assert_eq!(size((2 << 20) - 1), "1.9 MiB");
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
        assert_eq!(duration(Duration::ZERO), "0s");
        assert_eq!(duration(Duration::from_secs(7 * 86_400)), "7d");
        assert_eq!(duration(Duration::from_millis(5_400_001)), "1h 30m 1ms");
        assert_eq!(count(7), "7");
        assert_eq!(count(123_456), "123,456");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(0, "record"), "0 records");
        assert_eq!(counted(1, "record"), "1 record");
    }
}
