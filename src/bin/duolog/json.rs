//! Records as JSON: bytes that are text as text, all others as base64 under
//! another name, so that nothing is lost and nothing has to be guessed.

use bytes::Bytes;
use duolog::ids::Timestamp;
use duolog::{Browsed, DeathNote, Delivery, Headers, MessageId, MessageState, RecordView};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// One record, as `consume --json` prints it.
#[derive(Debug)]
pub(crate) struct JsonRecord<'a> {
    /// Where it was read.
    pub(crate) partition: u32,
    /// What was read.
    pub(crate) record: RecordView<'a>,
}

impl Serialize for JsonRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = &self.record;
        let value = (!record.is_tombstone()).then(|| record.value());
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("partition", &self.partition)?;
        map.serialize_entry("offset", &record.offset())?;
        map.serialize_entry("timestamp", &record.timestamp())?;
        put(&mut map, ["key", "key_base64"], record.key())?;
        map.serialize_entry("headers", &JsonHeaders(record.headers()))?;
        put(&mut map, ["value", "value_base64"], value)?;
        map.end()
    }
}

/// One message, as `receive` and `queue browse` print it.
#[derive(Debug)]
pub(crate) struct JsonMessage<'a> {
    id: MessageId,
    priority: u32,
    /// What it is; `None` of one that was just delivered.
    state: Option<MessageState>,
    /// How often it failed, or was delivered, under that name.
    tries: (&'static str, u32),
    sent: Timestamp,
    order_key: Option<&'a [u8]>,
    headers: &'a [(String, Bytes)],
    body: &'a [u8],
    death: Option<DeathNote>,
}

impl<'a> JsonMessage<'a> {
    /// Of a delivery from a queue with so many shards.
    pub(crate) fn delivered(delivery: &'a Delivery, shards: u32) -> Self {
        Self {
            id: delivery.id(),
            priority: priority(delivery.id(), shards),
            state: None,
            tries: ("deliveries", delivery.deliveries()),
            sent: delivery.sent(),
            order_key: delivery.order_key().map(|key| &key[..]),
            headers: delivery.headers(),
            body: delivery.body(),
            death: delivery.death(),
        }
    }

    /// Of a message that was looked at.
    pub(crate) fn browsed(browsed: &'a Browsed, shards: u32) -> Self {
        Self {
            id: browsed.id,
            priority: priority(browsed.id, shards),
            state: Some(browsed.state),
            tries: ("failures", browsed.failures),
            sent: browsed.sent,
            order_key: browsed.order_key.as_ref().map(|key| &key[..]),
            headers: &browsed.headers,
            body: &browsed.body,
            death: browsed.death.clone(),
        }
    }
}

/// The priority of a message, which its lane tells.
pub(crate) fn priority(id: MessageId, shards: u32) -> u32 {
    id.lane / shards.max(1)
}

/// A state by the name that flags and tables have for it.
pub(crate) fn state_name(state: MessageState) -> &'static str {
    match state {
        MessageState::Ready => "ready",
        MessageState::InFlight => "in-flight",
        MessageState::Delayed(_) => "delayed",
        // The library may come to know more of them.
        _ => "other",
    }
}

impl Serialize for JsonMessage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id.to_string())?;
        map.serialize_entry("priority", &self.priority)?;
        if let Some(state) = self.state {
            map.serialize_entry("state", state_name(state))?;
            if let MessageState::Delayed(until) = state {
                map.serialize_entry("delayed_until", &until)?;
            }
        }
        map.serialize_entry(self.tries.0, &self.tries.1)?;
        map.serialize_entry("sent", &self.sent)?;
        put(&mut map, ["order_key", "order_key_base64"], self.order_key)?;
        map.serialize_entry("headers", &MessageHeaders(self.headers))?;
        put(&mut map, ["body", "body_base64"], Some(self.body))?;
        map.serialize_entry("death", &self.death)?;
        map.end()
    }
}

/// An array, since names may repeat.
struct MessageHeaders<'a>(&'a [(String, Bytes)]);

impl Serialize for MessageHeaders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let headers = self.0.iter();
        serializer.collect_seq(headers.map(|(name, value)| JsonHeader((name, value))))
    }
}

/// An array, since names may repeat.
struct JsonHeaders<'a>(Headers<'a>);

impl Serialize for JsonHeaders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.map(JsonHeader))
    }
}

struct JsonHeader<'a>((&'a str, &'a [u8]));

impl Serialize for JsonHeader<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (name, value) = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", name)?;
        put(&mut map, ["value", "value_base64"], Some(value))?;
        map.end()
    }
}

/// Puts `bytes` under the first name as text, or under the second as base64;
/// null if there are none.
fn put<M: SerializeMap>(
    map: &mut M,
    [plain, encoded]: [&str; 2],
    bytes: Option<&[u8]>,
) -> Result<(), M::Error> {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => map.serialize_entry(plain, &()),
        Some((_, Ok(text))) => map.serialize_entry(plain, text),
        Some((bytes, Err(_))) => map.serialize_entry(encoded, &base64(bytes)),
    }
}

/// Standard base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * at) & 63).unwrap_or(0);
            let digit = ALPHABET.get(index).copied().unwrap_or(b'=');
            text.push(if at <= group.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (b"fooba", "Zm9vYmE="),
            (b"foobar", "Zm9vYmFy"),
            (b"\xff\xfe\xfd", "//79"),
        ] {
            assert_eq!(base64(bytes), text, "{bytes:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_go_under_another_name() {
        let header = |value| serde_json::to_string(&JsonHeader(("h", value))).unwrap();
        assert_eq!(header(b"a\n"), r#"{"name":"h","value":"a\n"}"#);
        assert_eq!(header(b"\xff"), r#"{"name":"h","value_base64":"/w=="}"#);
    }
}
