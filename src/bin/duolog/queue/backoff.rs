//! A backoff on the command line: `BASE[,FACTOR[,CAP[,JITTER]]]`.

use duolog::Backoff;

use crate::units;

const FORM: &str = "write BASE[,FACTOR[,CAP[,JITTER]]], such as 1s,2,1m,0.2, or none";

/// Reads a backoff. Whether the numbers go together is for the library to say.
pub(super) fn parse(text: &str) -> Result<Backoff, String> {
    if text == "none" {
        return Ok(Backoff::default());
    }
    let mut parts = text.split(',').map(str::trim);
    let base = units::parse_duration(parts.next().unwrap_or_default())
        .map_err(|error| format!("{error}; {FORM}"))?;
    let number = |what: &str, text: &str| {
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| format!("{what} {text:?} is not a number; {FORM}"))
    };
    let Some(factor) = parts.next() else {
        return Ok(Backoff::fixed(base));
    };
    let mut backoff = Backoff::exponential(base, number("factor", factor)?);
    if let Some(cap) = parts.next() {
        let cap = units::parse_duration(cap).map_err(|error| format!("cap {error}"))?;
        backoff = backoff.cap(cap);
    }
    if let Some(jitter) = parts.next() {
        backoff = backoff.jitter(number("jitter", jitter)?);
    }
    match parts.next() {
        None => Ok(backoff),
        Some(_) => Err(format!("{text:?} has more than four parts; {FORM}")),
    }
}

/// The same for people.
pub(super) fn show(backoff: &Backoff) -> String {
    if backoff.base.is_zero() {
        return "none".to_owned();
    }
    let mut text = units::duration(backoff.base);
    if backoff.factor > 1.0 {
        let cap = units::duration(backoff.cap);
        text = format!("{text}, times {} each time, up to {cap}", backoff.factor);
    }
    if backoff.jitter > 0.0 {
        text = format!("{text}, jitter {}", backoff.jitter);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_backoff_is_read_as_far_as_it_is_given() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let growing = Backoff::exponential(second, 2.0);
        for (text, backoff) in [
            ("none", Backoff::default()),
            ("1s", Backoff::fixed(second)),
            ("1s,2", growing),
            ("1s,2,1m", growing.cap(minute)),
            ("1s, 2, 1m, 0.2", growing.cap(minute).jitter(0.2)),
        ] {
            assert_eq!(parse(text), Ok(backoff), "{text}");
        }
    }

    #[test]
    fn what_is_no_backoff_is_refused_in_words() {
        for text in ["", "5", "1s,", "1s,x", "1s,inf", "1s,2,3", "1s,2,1m,0.1,9"] {
            let error = parse(text).unwrap_err();
            assert!(
                error.contains("1s,2,1m") || error.contains("1h30m"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_backoff_is_shown_in_words() {
        let show = |text: &str| show(&parse(text).unwrap());
        assert_eq!(show("none"), "none");
        assert_eq!(show("1s"), "1s");
        assert_eq!(show("1s,2"), "1s, times 2 each time, up to 1h");
        assert_eq!(
            show("1s,1.5,1m,0.2"),
            "1s, times 1.5 each time, up to 1m, jitter 0.2"
        );
    }
}
