//! Every option of a queue as a flag.

use std::time::Duration;

use clap::Id;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use duolog::{Backoff, Codec, Durability, Overflow, QueueOptions};

use super::backoff;
use crate::topic::{Limit, codec_parser, durability_parser, limit};
use crate::units;

/// Every option of a queue; those not given stay as they are.
#[derive(Debug, clap::Args)]
pub(super) struct OptionFlags {
    /// Parts that are used at once; order is kept in each. Cannot be altered
    /// [default: 1]
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Highest priority of a message. Cannot be altered [default: 9]
    #[arg(long, value_name = "N")]
    priority_max: Option<u8>,
    /// Promise of a send that does not choose one, and of acks [default: durable]
    #[arg(long, value_name = "LEVEL", value_parser = durability_parser())]
    durability: Option<Durability>,
    /// Compression [default: none]
    #[arg(long, value_name = "CODEC", value_parser = codec_parser())]
    compress: Option<Codec>,
    /// Largest message: order key, body and headers [default: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size_u32)]
    message_bytes_max: Option<u32>,
    /// Time that a consumer has for a message before another one gets it
    /// [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    lease: Option<Duration>,
    /// Deliveries after which a failed message is dead, or `none` for any number;
    /// needs --dead-letter [default: none]
    #[arg(long, value_name = "N", value_parser = limit(parse_deliveries))]
    max_deliveries: Option<Limit<u32>>,
    /// Queue to which dead messages go, or `none` [default: none]
    #[arg(long, value_name = "QUEUE", value_parser = limit(parse_name))]
    dead_letter: Option<Limit<String>>,
    /// Wait between a failure and the next delivery; see below [default: none]
    #[arg(long, value_name = "BACKOFF", value_parser = backoff::parse)]
    backoff: Option<Backoff>,
    /// Age at which messages expire, or `none` [default: none]
    #[arg(long, value_name = "DURATION", value_parser = limit(units::parse_duration))]
    ttl: Option<Limit<Duration>>,
    /// Most messages, delayed ones included, or `none` [default: none]
    #[arg(long, value_name = "N", value_parser = limit(parse_count))]
    length_max: Option<Limit<u64>>,
    /// What happens to one more [default: reject]
    #[arg(long, value_name = "POLICY", value_parser = overflow_parser())]
    overflow: Option<Overflow>,
    /// How long the id of a message keeps out others with the same, or `none`
    /// [default: none]
    #[arg(long, value_name = "DURATION", value_parser = limit(units::parse_duration))]
    dedup_window: Option<Limit<Duration>>,
    /// One consumer at a time gets messages, the others stand by [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    single_active: Option<bool>,
    /// Size at which a segment is sealed; space comes back by segments
    /// [default: 16MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    segment_bytes: Option<u64>,
}

impl OptionFlags {
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            shards,
            priority_max,
            durability,
            compress,
            message_bytes_max,
            lease,
            max_deliveries,
            dead_letter,
            backoff,
            ttl,
            length_max,
            overflow,
            dedup_window,
            single_active,
            segment_bytes,
        } = self;
        shards.or(*message_bytes_max).is_none()
            && priority_max.is_none()
            && durability.is_none()
            && compress.is_none()
            && lease.is_none()
            && max_deliveries.is_none()
            && dead_letter.is_none()
            && backoff.is_none()
            && ttl.as_ref().or(dedup_window.as_ref()).is_none()
            && length_max.is_none()
            && overflow.is_none()
            && single_active.is_none()
            && segment_bytes.is_none()
    }

    /// `options`, with the flags that were given over them.
    pub(super) fn over(&self, mut options: QueueOptions) -> QueueOptions {
        fn set<T: Clone>(field: &mut T, flag: Option<&T>) {
            if let Some(value) = flag {
                field.clone_from(value);
            }
        }
        fn limit<T: Clone>(field: &mut Option<T>, flag: Option<&Limit<T>>) {
            if let Some(Limit(value)) = flag {
                field.clone_from(value);
            }
        }
        set(&mut options.shards, self.shards.as_ref());
        set(&mut options.priority_max, self.priority_max.as_ref());
        set(&mut options.durability, self.durability.as_ref());
        set(&mut options.codec, self.compress.as_ref());
        set(
            &mut options.message_bytes_max,
            self.message_bytes_max.as_ref(),
        );
        set(&mut options.lease, self.lease.as_ref());
        limit(&mut options.max_deliveries, self.max_deliveries.as_ref());
        limit(&mut options.dead_letter, self.dead_letter.as_ref());
        set(&mut options.backoff, self.backoff.as_ref());
        limit(&mut options.ttl, self.ttl.as_ref());
        limit(&mut options.length_max, self.length_max.as_ref());
        set(&mut options.overflow, self.overflow.as_ref());
        limit(&mut options.dedup_window, self.dedup_window.as_ref());
        set(&mut options.single_active, self.single_active.as_ref());
        set(&mut options.segment_bytes_max, self.segment_bytes.as_ref());
        options
    }
}

/// True for flags that mean nothing to a subscription, whose messages are
/// another's.
pub(super) fn is_of_owners(flag: &Id) -> bool {
    [
        "shards",
        "priority_max",
        "compress",
        "message_bytes_max",
        "length_max",
        "overflow",
        "dedup_window",
        "segment_bytes",
    ]
    .contains(&flag.as_str())
}

/// Accepts what a queue does when it is full, by name.
fn overflow_parser() -> impl TypedValueParser<Value = Overflow> {
    PossibleValuesParser::new(["reject", "drop-oldest", "dead-letter"])
        .try_map(|name| name.parse::<Overflow>())
}

fn parse_deliveries(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a number of deliveries, nor `none`"))
}

fn parse_count(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a number of messages, nor `none`"))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a parser, beside those that can fail"
)]
fn parse_name(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        options: OptionFlags,
    }

    fn flags(line: &str) -> OptionFlags {
        Flags::try_parse_from(std::iter::once("x").chain(line.split_whitespace()))
            .unwrap_or_else(|error| panic!("{line}: {error}"))
            .options
    }

    #[test]
    fn flags_change_what_they_name_and_nothing_else() {
        let before = QueueOptions::default().shards(3).dead_letter("dead");
        assert!(flags("").is_empty());
        assert_eq!(flags("").over(before.clone()), before);
        let line = "--lease 1m --max-deliveries 4 --single-active --overflow drop-oldest";
        let expected = before
            .clone()
            .lease(Duration::from_secs(60))
            .max_deliveries(4)
            .single_active(true)
            .overflow(Overflow::DropOldest);
        assert_eq!(flags(line).over(before), expected);
    }

    #[test]
    fn flags_that_a_subscription_does_not_show_are_flags() {
        use clap::CommandFactory;
        let command = Flags::command();
        let ids = command.get_arguments().map(clap::Arg::get_id);
        assert_eq!(ids.filter(|id| is_of_owners(id)).count(), 8);
    }

    #[test]
    fn what_was_set_can_be_taken_away() {
        let options = QueueOptions::default()
            .max_deliveries(4)
            .dead_letter("dead")
            .backoff(Backoff::fixed(Duration::from_secs(1)))
            .ttl(Duration::from_secs(1))
            .length_max(1)
            .dedup_window(Duration::from_secs(1))
            .single_active(true);
        let line = "--max-deliveries none --dead-letter none --backoff none --ttl none \
                    --length-max none --dedup-window none --single-active=false";
        assert_eq!(flags(line).over(options), QueueOptions::default());
    }

    #[test]
    fn every_flag_counts_as_one_given() {
        for flag in [
            "--shards 1",
            "--priority-max 9",
            "--durability durable",
            "--compress none",
            "--message-bytes-max 1M",
            "--lease 30s",
            "--max-deliveries none",
            "--dead-letter none",
            "--backoff none",
            "--ttl none",
            "--length-max none",
            "--overflow reject",
            "--dedup-window none",
            "--single-active=false",
            "--segment-bytes 1M",
        ] {
            assert!(!flags(flag).is_empty(), "{flag}");
        }
    }
}
