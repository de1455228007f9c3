//! Which messages of a topic a subscription wants.

use crate::error::{Error, Result};

/// Conditions of a filter, and values of a condition.
pub(crate) const CONDITIONS_MAX: usize = 64;

/// Bytes of a name or value in a filter.
pub(crate) const TEXT_LEN_MAX: usize = 1024;

/// Which messages a subscription wants, by their headers: those that meet every
/// condition. A filter without conditions wants all.
///
/// # Examples
///
/// ```
/// use duolog::Filter;
///
/// let filter = Filter::default()
///     .any_of("kind", ["order", "refund"])
///     .prefix("region", "eu-");
/// let headers = [("kind", &b"order"[..]), ("region", b"eu-west")];
/// assert!(filter.matches(headers));
/// assert!(!filter.matches([("kind", &b"order"[..])]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Filter {
    pub(crate) conditions: Vec<Condition>,
}

/// What one header must be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub(crate) struct Condition {
    pub(crate) header: String,
    pub(crate) test: Test,
}

/// How a header is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub(crate) enum Test {
    AnyOf(Vec<Vec<u8>>),
    Prefix(Vec<u8>),
    Exists,
    Absent,
}

impl Filter {
    fn and(mut self, header: impl Into<String>, test: Test) -> Self {
        self.conditions.push(Condition {
            header: header.into(),
            test,
        });
        self
    }

    /// The header must be there with one of these values.
    #[must_use]
    pub fn any_of<V: AsRef<[u8]>>(
        self,
        header: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(|value| value.as_ref().to_vec());
        self.and(header, Test::AnyOf(values.collect()))
    }

    /// The header must be there with a value that starts so.
    #[must_use]
    pub fn prefix(self, header: impl Into<String>, prefix: impl AsRef<[u8]>) -> Self {
        self.and(header, Test::Prefix(prefix.as_ref().to_vec()))
    }

    /// The header must be there.
    #[must_use]
    pub fn exists(self, header: impl Into<String>) -> Self {
        self.and(header, Test::Exists)
    }

    /// The header must not be there.
    #[must_use]
    pub fn absent(self, header: impl Into<String>) -> Self {
        self.and(header, Test::Absent)
    }

    /// True if it wants every message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// True if a message with these headers meets every condition. Of headers
    /// that repeat, one is enough.
    pub fn matches<'h>(&self, headers: impl IntoIterator<Item = (&'h str, &'h [u8])>) -> bool {
        if self.conditions.is_empty() {
            return true;
        }
        let headers: Vec<_> = headers.into_iter().collect();
        self.conditions.iter().all(|condition| {
            let mut values = headers
                .iter()
                .filter(|(name, _)| *name == condition.header)
                .map(|(_, value)| *value);
            match &condition.test {
                Test::AnyOf(wanted) => values.any(|value| wanted.iter().any(|want| want == value)),
                Test::Prefix(prefix) => values.any(|value| value.starts_with(prefix)),
                Test::Exists => values.next().is_some(),
                Test::Absent => values.next().is_none(),
            }
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what: String| {
            Err(Error::invalid(format!(
                "filter {what}; at most {CONDITIONS_MAX} conditions, as many values in each, and \
                 {TEXT_LEN_MAX} bytes in a name or value"
            )))
        };
        if self.conditions.len() > CONDITIONS_MAX {
            return wrong(format!("has {} conditions", self.conditions.len()));
        }
        for condition in &self.conditions {
            let texts: Vec<&[u8]> = match &condition.test {
                Test::AnyOf(values) => values.iter().map(Vec::as_slice).collect(),
                Test::Prefix(prefix) => vec![prefix],
                Test::Exists | Test::Absent => Vec::new(),
            };
            let header = &condition.header;
            if texts.len() > CONDITIONS_MAX {
                return wrong(format!("has {} values for {header:?}", texts.len()));
            }
            let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
            if header.len().max(longest) > TEXT_LEN_MAX {
                return wrong(format!(
                    "has a name or value that is too long for {header:?}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_must_be_met_and_one_of_repeated_headers_is_enough() {
        let filter = Filter::default()
            .any_of("a", ["1", "2"])
            .absent("b")
            .exists("c");
        let matches = |headers: &[(&str, &str)]| {
            filter.matches(
                headers
                    .iter()
                    .map(|(name, value)| (*name, value.as_bytes())),
            )
        };
        assert!(matches(&[("a", "2"), ("c", "")]));
        assert!(matches(&[("a", "9"), ("a", "1"), ("c", "x")]));
        assert!(!matches(&[("a", "1")]));
        assert!(!matches(&[("a", "1"), ("c", ""), ("b", "")]));
        assert!(!matches(&[("a", "12"), ("c", "")]));
        assert!(Filter::default().matches([]));
    }

    #[test]
    fn a_filter_beyond_its_limits_is_refused() {
        let many = (0..=CONDITIONS_MAX).fold(Filter::default(), |it, n| it.exists(n.to_string()));
        assert!(many.check().is_err());
        assert!(
            Filter::default()
                .prefix("a", [0; TEXT_LEN_MAX + 1])
                .check()
                .is_err()
        );
        assert!(Filter::default().any_of("a", ["b"]).check().is_ok());
    }
}
