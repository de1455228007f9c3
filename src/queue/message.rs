//! Messages: what a queue takes, how it is addressed, and the headers that the
//! engine adds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::{HEADERS_MAX, Record};
use crate::ids::{Offset, Timestamp, to_u64};

/// Headers that begin so belong to the engine; a message that is sent with one
/// is refused.
pub(crate) const RESERVED_PREFIX: &str = "duolog-";

/// Time in milliseconds since 1970 at which the message expires, as decimal text.
pub(crate) const EXPIRES: &str = "duolog-expires";
/// Time at which the delay that it was sent with is over, in the same form.
pub(crate) const DUE: &str = "duolog-due";
/// Its deduplication id.
pub(crate) const DEDUP_ID: &str = "duolog-dedup-id";
/// Where it was sent first, `queue/id`: kept through dead letters and redrives.
pub(crate) const ORIGIN: &str = "duolog-origin";
/// Why it died: see [`DeadReason`].
pub(crate) const DEAD_REASON: &str = "duolog-dead-reason";
/// What the consumer said, if it said anything.
pub(crate) const DEAD_ERROR: &str = "duolog-dead-error";
/// The queue that it died in.
pub(crate) const DEAD_QUEUE: &str = "duolog-dead-queue";
/// How often it was delivered there.
pub(crate) const DEAD_DELIVERIES: &str = "duolog-dead-deliveries";
/// When it failed for the first time, in milliseconds since 1970.
pub(crate) const DEAD_FIRST: &str = "duolog-dead-first";
/// When it died.
pub(crate) const DEAD_LAST: &str = "duolog-dead-last";
/// How often it died before, in whichever queue.
pub(crate) const DEAD_COUNT: &str = "duolog-dead-count";

/// Headers that the engine may add to a message.
const HEADERS_ADDED_MAX: usize = 10;

/// Longest delay and life of a message.
const SPAN_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Longest deduplication id, in bytes.
pub(crate) const DEDUP_ID_LEN_MAX: usize = 256;

/// A message to send: borrowed, encoded once into the log.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::Message;
///
/// let message = Message::new("resize cat.png")
///     .header("trace", "a1b2")
///     .order_key("user-7")
///     .priority(5)
///     .delay(Duration::from_secs(60));
/// # let _ = message;
/// ```
#[derive(Clone, Debug, Default)]
pub struct Message<'a> {
    pub(crate) record: Record<'a>,
    pub(crate) delay: Option<Duration>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) priority: u8,
    pub(crate) dedup_id: Option<&'a str>,
}

impl<'a> Message<'a> {
    /// A message with this body, to be delivered at once.
    #[must_use]
    pub fn new<B: AsRef<[u8]> + ?Sized>(body: &'a B) -> Self {
        Self {
            record: Record::new(body),
            ..Self::default()
        }
    }

    /// Messages with equal keys are delivered one at a time and in order, also
    /// where one fails and comes back; those with other keys flow on. Within one
    /// priority.
    #[must_use]
    pub fn order_key<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K) -> Self {
        self.record = self.record.key(key);
        self
    }

    /// Adds a header. At most [`HEADERS_MAX`](crate::limits::HEADERS_MAX) less
    /// ten; names that begin with `duolog-` are the engine's.
    #[must_use]
    pub fn header<V: AsRef<[u8]> + ?Sized>(mut self, name: &'a str, value: &'a V) -> Self {
        self.record = self.record.header(name, value);
        self
    }

    /// Not to be delivered before so much time has passed. Any length up to 100
    /// years; kept on disk, and over restarts, by the wall clock.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Expires after so much time, unless it is in flight then. Between 1 ms and
    /// 100 years; the queue's own counts if it is shorter.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Goes before all that have a lower one. Default 0, the lowest; at most the
    /// queue's [`priority_max`](crate::QueueOptions::priority_max).
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Within the queue's [`dedup_window`](crate::QueueOptions::dedup_window) a
    /// second message with this id is not stored: the send answers with the id of
    /// the first. 1 to 256 bytes. A transient message stands for transient ones
    /// only: its id dies with it.
    #[must_use]
    pub fn dedup_id(mut self, id: &'a str) -> Self {
        self.dedup_id = Some(id);
        self
    }

    /// Checks what only a message has.
    pub(crate) fn check(&self, priority_max: u8) -> Result<()> {
        if self.priority > priority_max {
            return Err(Error::invalid(format!(
                "priority {} is over the queue's `priority_max` of {priority_max}",
                self.priority
            )));
        }
        check_span("delay", self.delay)?;
        check_span("ttl", self.ttl)?;
        if self.ttl.is_some_and(|ttl| ttl.as_millis() == 0) {
            return Err(Error::invalid(
                "ttl is under 1 ms: the message would expire at once; set it longer, or leave it \
                 out",
            ));
        }
        if let Some(id) = self.dedup_id
            && !(1..=DEDUP_ID_LEN_MAX).contains(&id.len())
        {
            return Err(Error::invalid(format!(
                "deduplication id has {} bytes; use 1 to {DEDUP_ID_LEN_MAX}",
                id.len()
            )));
        }
        let most = HEADERS_MAX - HEADERS_ADDED_MAX;
        if self.record.header_count() > most {
            return Err(Error::invalid(format!(
                "message has {} headers; at most {most} are allowed",
                self.record.header_count()
            )));
        }
        match self
            .record
            .header_names()
            .find(|name| name.starts_with(RESERVED_PREFIX))
        {
            Some(name) => Err(Error::invalid(format!(
                "header {name:?} begins with `{RESERVED_PREFIX}`, which is the engine's; choose \
                 another name"
            ))),
            None => Ok(()),
        }
    }

    /// Checks the size of what was given: the engine's own headers come on top.
    pub(crate) fn check_size(&self, message_bytes_max: u32) -> Result<()> {
        let bytes = to_u64(self.record.payload_len());
        if bytes <= u64::from(message_bytes_max) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "message of {bytes} bytes (order key, body and headers) is over the queue's \
             `message_bytes_max` of {message_bytes_max}; split it, or alter the queue"
        )))
    }

    /// True if it can be appended as it is.
    pub(crate) fn is_plain(&self) -> bool {
        self.delay.is_none() && self.ttl.is_none() && self.dedup_id.is_none()
    }
}

/// Checks the length of a delay or life.
pub(crate) fn check_span(what: &str, span: Option<Duration>) -> Result<()> {
    match span {
        Some(span) if span > SPAN_MAX => Err(Error::invalid(format!(
            "{what} of {span:?} is over the limit of 100 years"
        ))),
        _ => Ok(()),
    }
}

/// Where a message lies in its queue. Written as `lane-offset`.
///
/// A lane is one shard at one priority; offsets count from 0 in each.
///
/// # Examples
///
/// ```
/// use duolog::MessageId;
///
/// let id: MessageId = "3-1042".parse()?;
/// assert_eq!((id.lane, id.offset.get()), (3, 1042));
/// assert_eq!(id.to_string(), "3-1042");
/// # Ok::<(), duolog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MessageId {
    /// Shard and priority: `priority * shards + shard`.
    pub lane: u32,
    /// Its number there.
    pub offset: Offset,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.lane, self.offset)
    }
}

impl FromStr for MessageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (lane, offset) = text.split_once('-')?;
            Some(Self {
                lane: lane.parse().ok()?,
                offset: Offset::new(offset.parse().ok()?),
            })
        };
        parse().ok_or_else(|| {
            Error::invalid(format!("{text:?} is no message id; it looks like `0-1042`"))
        })
    }
}

/// Why a message is in a dead-letter queue.
///
/// # Examples
///
/// ```
/// assert_eq!(duolog::DeadReason::MaxDeliveries.to_string(), "max_deliveries");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum DeadReason {
    /// A consumer said so.
    Rejected,
    /// Its time was over before anybody took it.
    Expired,
    /// It failed as often as the queue allows.
    MaxDeliveries,
    /// The queue was as long as it may be.
    Overflow,
}

impl DeadReason {
    /// The text that the header has.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxDeliveries => "max_deliveries",
            Self::Overflow => "overflow",
        }
    }

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let all = [
            Self::Rejected,
            Self::Expired,
            Self::MaxDeliveries,
            Self::Overflow,
        ];
        all.into_iter()
            .find(|reason| reason.as_str().as_bytes() == text)
    }
}

impl FromStr for DeadReason {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text.as_bytes()).ok_or_else(|| {
            Error::invalid(format!(
                "unknown reason {text:?}; use rejected, expired, max_deliveries or overflow"
            ))
        })
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why, where and when a message died; from its headers.
///
/// # Examples
///
/// See [`Delivery::dead_letter`](crate::Delivery::dead_letter).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DeathNote {
    /// Why.
    pub reason: DeadReason,
    /// What the consumer said.
    pub error: Option<String>,
    /// The queue that it died in.
    pub queue: String,
    /// How often it had been delivered there.
    pub deliveries: u32,
    /// When it failed there for the first time; when it died, if it never had.
    pub first: Timestamp,
    /// When it died.
    pub last: Timestamp,
    /// How often it has died by now, in whichever queue.
    pub count: u32,
}

/// A header's value as a number.
pub(crate) fn number<T: FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_may_not_have_is_refused() {
        let good = Message::new("x")
            .priority(9)
            .delay(SPAN_MAX)
            .ttl(Duration::from_millis(1));
        assert!(good.check(9).is_ok());
        for (bad, word) in [
            (Message::new("x").priority(10), "priority_max"),
            (
                Message::new("x").delay(SPAN_MAX + Duration::from_secs(1)),
                "delay",
            ),
            (Message::new("x").ttl(Duration::ZERO), "ttl"),
            (Message::new("x").dedup_id(""), "deduplication"),
            (Message::new("x").header("duolog-expires", "1"), "duolog-"),
        ] {
            let error = bad.check(9).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn an_id_is_what_it_is_written_as() {
        for text in ["0-0", "255-18446744073709551615"] {
            assert_eq!(text.parse::<MessageId>().unwrap().to_string(), text);
        }
        for text in ["", "1", "-1-2", "1-", "x-1", "1-2-3"] {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
    }
}
