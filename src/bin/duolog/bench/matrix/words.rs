//! Figures in words: three digits and a unit, as a chart or a cell has room for.

/// `1 thread`, `16 threads`.
pub(super) fn threads_name(threads: u32) -> String {
    let word = if threads == 1 { "thread" } else { "threads" };
    format!("{threads} {word}")
}

/// `0.999` as `99.9`.
pub(super) fn percent(quantile: f64) -> String {
    let text = format!("{:.3}", quantile * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Three digits and a unit: `7`, `1.5k`, `230k`, `4.1M`.
pub(super) fn number(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v >= 999_500_000.0 => (v / 1e9, "G"),
        v if v >= 999_500.0 => (v / 1e6, "M"),
        v if v >= 999.5 => (v / 1e3, "k"),
        v => (v, ""),
    };
    format!("{}{unit}", three_digits(scaled))
}

/// Microseconds to read: `90 ns`, `7 us`, `1.5 ms`, `2 s`.
pub(super) fn time(us: f64) -> String {
    let (scaled, unit) = match us {
        v if v >= 999_500.0 => (v / 1e6, "s"),
        v if v >= 999.5 => (v / 1e3, "ms"),
        v if v >= 0.9995 => (v, "us"),
        v => (v * 1e3, "ns"),
    };
    format!("{} {unit}", three_digits(scaled))
}

fn three_digits(value: f64) -> String {
    let digits = match value {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let short = [
            number(7.0),
            number(1500.0),
            number(999_999.0),
            number(64_123.0),
        ];
        assert_eq!(short, ["7", "1.5k", "1M", "64.1k"]);
        let short = [
            time(0.09),
            time(7.123),
            time(1500.0),
            time(2e6),
            time(100.0),
        ];
        assert_eq!(short, ["90 ns", "7.12 us", "1.5 ms", "2 s", "100 us"]);
        assert_eq!(percent(0.9995), "99.95");
    }
}
