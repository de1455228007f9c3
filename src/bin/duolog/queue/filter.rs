//! Filters on the command line, one condition a flag: `name=a|b`, `name^=start`,
//! `name`, `!name`.

use std::str::FromStr;

use duolog::Filter;
use serde_json::Value;

/// One condition of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    AnyOf(String, Vec<String>),
    Prefix(String, String),
    Exists(String),
    Absent(String),
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is no filter; write name=a|b, name^=start, name (is there) or !name")
        };
        let condition = match text.split_once('=') {
            None => match text.strip_prefix('!') {
                Some(name) => Self::Absent(name.to_owned()),
                None => Self::Exists(text.to_owned()),
            },
            Some((name, value)) if name.ends_with('^') => {
                Self::Prefix(name.trim_end_matches('^').to_owned(), value.to_owned())
            }
            Some((name, values)) => {
                let values = values.split('|').map(str::to_owned).collect();
                Self::AnyOf(name.to_owned(), values)
            }
        };
        let (Self::AnyOf(name, _)
        | Self::Prefix(name, _)
        | Self::Exists(name)
        | Self::Absent(name)) = &condition;
        // `!name=a` would otherwise be a header that is called `!name`.
        if name.is_empty() || name.starts_with('!') {
            return Err(wrong());
        }
        Ok(condition)
    }
}

/// A filter that wants what meets all conditions.
pub(super) fn all_of(conditions: &[Condition]) -> Filter {
    let add = |filter: Filter, condition: &Condition| match condition {
        Condition::AnyOf(name, values) => filter.any_of(name, values),
        Condition::Prefix(name, prefix) => filter.prefix(name, prefix),
        Condition::Exists(name) => filter.exists(name),
        Condition::Absent(name) => filter.absent(name),
    };
    conditions.iter().fold(Filter::default(), add)
}

/// The conditions of a filter, as they would be given on the command line.
///
/// A filter shows itself only as JSON, with values as numbers of bytes.
pub(super) fn show(filter: &Filter) -> Vec<String> {
    let json = serde_json::to_value(filter).unwrap_or_default();
    let conditions = json.get("conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().map(show_one).collect()
}

fn show_one(condition: &Value) -> String {
    let name = condition
        .get("header")
        .and_then(Value::as_str)
        .unwrap_or("?");
    let test = condition.get("test").unwrap_or(&Value::Null);
    if let Some(values) = test.get("any-of").and_then(Value::as_array) {
        let values: Vec<String> = values.iter().map(text).collect();
        return format!("{name}={}", values.join("|"));
    }
    match test.get("prefix") {
        Some(prefix) => format!("{name}^={}", text(prefix)),
        None if test.as_str() == Some("absent") => format!("!{name}"),
        None => name.to_owned(),
    }
}

/// Numbers of bytes as text.
fn text(bytes: &Value) -> String {
    let bytes = bytes.as_array().into_iter().flatten();
    let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
    let bytes: Vec<u8> = bytes.filter_map(byte).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_shown_as_it_was_given() {
        for text in [
            "kind=a",
            "kind=a|b|",
            "kind^=eu-",
            "kind^=",
            "kind",
            "!kind",
        ] {
            let filter = all_of(&[text.parse().unwrap()]);
            assert_eq!(show(&filter), [text]);
        }
    }

    #[test]
    fn all_conditions_have_to_be_met() {
        let conditions = ["kind=a|b", "region^=eu", "!test"].map(|text| text.parse().unwrap());
        let filter = all_of(&conditions);
        let matches = |headers: &[(&str, &str)]| {
            let headers = headers.iter();
            filter.matches(headers.map(|(name, value)| (*name, value.as_bytes())))
        };
        assert!(matches(&[("kind", "b"), ("region", "eu-west")]));
        assert!(!matches(&[("kind", "b"), ("region", "us")]));
        assert!(!matches(&[("kind", "b"), ("region", "eu"), ("test", "")]));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in ["", "!", "=a", "^=a", "!name=a", "!name^=a"] {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }
}
