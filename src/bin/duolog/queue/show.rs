//! Queues and their figures, for people and for scripts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use duolog::ids::Timestamp;
use duolog::{Backoff, Codec, Durability, Overflow, QueueInfo, QueueStats};
use serde::Serialize;

use super::{backoff, filter};
use crate::failure::{Done, Failure};
use crate::output::{self, Column, Stdout};
use crate::store::StoreArgs;
use crate::topic::{codec, durability};
use crate::units;

/// A queue as JSON: the names are those of the options, the units are in them.
#[derive(Debug, Serialize)]
struct JsonQueue<'a> {
    name: &'a str,
    id: u32,
    /// Of a subscription: the topic, and the filter as it was given.
    topic: Option<&'a str>,
    filter: Option<Vec<String>>,
    #[serde(flatten)]
    stats: &'a QueueStats,
    shards: u32,
    priority_max: u8,
    durability: Durability,
    codec: Codec,
    message_bytes_max: u32,
    lease_ms: u64,
    max_deliveries: Option<u32>,
    dead_letter: Option<&'a str>,
    backoff: Option<JsonBackoff>,
    ttl_ms: Option<u64>,
    length_max: Option<u64>,
    overflow: Overflow,
    dedup_window_ms: Option<u64>,
    single_active: bool,
    segment_bytes_max: u64,
}

#[derive(Debug, Serialize)]
struct JsonBackoff {
    base_ms: u64,
    factor: f64,
    cap_ms: u64,
    jitter: f64,
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl JsonBackoff {
    fn new(backoff: &Backoff) -> Option<Self> {
        (!backoff.base.is_zero()).then(|| Self {
            base_ms: ms(backoff.base),
            factor: backoff.factor,
            cap_ms: ms(backoff.cap),
            jitter: backoff.jitter,
        })
    }
}

impl<'a> JsonQueue<'a> {
    fn new(info: &'a QueueInfo, stats: &'a QueueStats) -> Self {
        let options = &info.options;
        let source = info.subscription.as_ref();
        Self {
            name: &info.name,
            id: info.id.get(),
            topic: source.map(|(topic, _)| topic.as_str()),
            filter: source.map(|(_, wanted)| filter::show(wanted)),
            stats,
            shards: options.shards,
            priority_max: options.priority_max,
            durability: options.durability,
            codec: options.codec,
            message_bytes_max: options.message_bytes_max,
            lease_ms: ms(options.lease),
            max_deliveries: options.max_deliveries,
            dead_letter: options.dead_letter.as_deref(),
            backoff: JsonBackoff::new(&options.backoff),
            ttl_ms: options.ttl.map(ms),
            length_max: options.length_max,
            overflow: options.overflow,
            dedup_window_ms: options.dedup_window.map(ms),
            single_active: options.single_active,
            segment_bytes_max: options.segment_bytes_max,
        }
    }
}

/// Lists all queues.
pub(super) fn list(store: &StoreArgs, json: bool) -> Result<Done, Failure> {
    let engine = store.open_to_read()?;
    let mut out = Stdout::lock();
    let mut rows = Vec::new();
    for info in engine.queues() {
        let stats = engine.queue(&info.name)?.stats()?;
        if json {
            out.json(&JsonQueue::new(&info, &stats))?;
            continue;
        }
        rows.push(vec![
            info.name.clone(),
            info.id.to_string(),
            units::count(stats.ready),
            units::count(stats.in_flight),
            units::count(stats.delayed),
            stats.oldest.map_or_else(|| "-".to_owned(), age),
            units::size(stats.segment_bytes),
            durability(info.options.durability).to_owned(),
            info.subscription
                .map_or_else(String::new, |(topic, _)| topic),
        ]);
    }
    if !json {
        let columns = [
            Column::Left("NAME"),
            Column::Right("ID"),
            Column::Right("READY"),
            Column::Right("IN FLIGHT"),
            Column::Right("DELAYED"),
            Column::Right("OLDEST"),
            Column::Right("SIZE"),
            Column::Left("DURABILITY"),
            Column::Left("TOPIC"),
        ];
        out.text(&output::table(&columns, &rows))?;
    }
    out.flush()?;
    engine.close()?;
    Ok(Done::Well)
}

/// Shows one queue.
pub(super) fn describe(store: &StoreArgs, name: &str, json: bool) -> Result<Done, Failure> {
    let engine = store.open_to_read()?;
    let queue = engine.queue(name)?;
    let (info, stats) = (queue.info(), queue.stats()?);
    if json {
        output::print_json(&JsonQueue::new(&info, &stats))?;
    } else {
        output::print(&format!("{}\n{}", facts(&info), figures(&info, &stats)))?;
    }
    engine.close()?;
    Ok(Done::Well)
}

fn facts(info: &QueueInfo) -> String {
    let options = &info.options;
    let or = |text: Option<String>, none: &str| text.unwrap_or_else(|| none.to_owned());
    let deliveries = options.max_deliveries.map(|most| most.to_string());
    let mut pairs = vec![("name", info.name.clone()), ("id", info.id.to_string())];
    if let Some((topic, wanted)) = &info.subscription {
        let conditions = filter::show(wanted);
        let filter = (!conditions.is_empty()).then(|| conditions.join(", "));
        pairs.push(("topic", topic.clone()));
        pairs.push(("filter", or(filter, "none: all records")));
    }
    pairs.extend([
        ("durability", durability(options.durability).to_owned()),
        ("lease", units::duration(options.lease)),
        ("max-deliveries", or(deliveries, "any number")),
        ("dead-letter", or(options.dead_letter.clone(), "none")),
        ("backoff", backoff::show(&options.backoff)),
        ("ttl", or(options.ttl.map(units::duration), "none")),
        ("single-active", options.single_active.to_string()),
    ]);
    if info.subscription.is_none() {
        // A subscription has none of these: its messages are the topic's.
        let message = units::size(u64::from(options.message_bytes_max));
        let length = options.length_max.map(units::count);
        let window = options.dedup_window.map(units::duration);
        pairs.extend([
            ("shards", options.shards.to_string()),
            ("priority-max", options.priority_max.to_string()),
            ("compress", codec(options.codec).to_owned()),
            ("message-bytes-max", message),
            ("length-max", or(length, "none")),
            ("overflow", overflow(options.overflow).to_owned()),
            ("dedup-window", or(window, "none")),
            ("segment-bytes", units::size(options.segment_bytes_max)),
        ]);
    }
    output::pairs(&pairs)
}

fn figures(info: &QueueInfo, stats: &QueueStats) -> String {
    let mut pairs = vec![
        ("ready", units::count(stats.ready)),
        ("in flight", units::count(stats.in_flight)),
        ("delayed", units::count(stats.delayed)),
        ("behind an order key", units::count(stats.parked)),
    ];
    if let Some(oldest) = stats.oldest {
        pairs.push(("oldest", format!("{} ({})", time(oldest), age(oldest))));
    }
    if info.subscription.is_none() {
        pairs.push(("on disk", units::size(stats.segment_bytes)));
    }
    pairs.push(("ledger in memory", units::size(stats.memory_bytes)));
    output::pairs(&pairs)
}

fn overflow(policy: Overflow) -> &'static str {
    match policy {
        Overflow::Reject => "reject",
        Overflow::DropOldest => "drop-oldest",
        Overflow::DeadLetter => "dead-letter",
    }
}

/// A point in time as RFC 3339 has it.
pub(super) fn time(at: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(at.millis());
    // What no calendar has stays a number.
    time.map_or_else(|_| at.millis().to_string(), |time| time.to_string())
}

/// How long ago something was, in whole seconds.
#[expect(clippy::disallowed_methods, reason = "an age is shown, not used")]
fn age(at: Timestamp) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let then = u64::try_from(at.millis()).unwrap_or(0);
    let age = now
        .unwrap_or_default()
        .saturating_sub(Duration::from_millis(then));
    format!(
        "{} ago",
        units::duration(Duration::from_secs(age.as_secs()))
    )
}
