//! Every option of a topic as a flag.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use duolog::{Codec, Durability, TopicOptions};

use crate::units;

/// A limit that can be taken away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit<T>(pub(crate) Option<T>);

/// Every option of a topic; those not given stay as they are.
#[derive(Debug, clap::Args)]
pub(super) struct OptionFlags {
    /// Number of partitions; it can grow later, not shrink [default: 1]
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// Promise of an append that does not choose one [default: durable]
    #[arg(long, value_name = "LEVEL", value_parser = durability_parser())]
    durability: Option<Durability>,
    /// Compression of an append that does not choose one [default: none]
    #[arg(long, value_name = "CODEC", value_parser = codec_parser())]
    compress: Option<Codec>,
    /// Largest record: key, value and headers [default: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size_u32)]
    record_bytes: Option<u32>,
    /// Size at which a batch of buffered records is sealed [default: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size_u32)]
    batch_bytes: Option<u32>,
    /// Size at which a segment is sealed [default: 128MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    segment_bytes: Option<u64>,
    /// Age at which a segment is sealed [default: 7d]
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    segment_age: Option<Duration>,
    /// Bytes of batches between two index entries [default: 4KiB]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size_u32)]
    index_interval: Option<u32>,
    /// Let segments go whose records are all older, or `none` [default: none]
    #[arg(long, value_name = "DURATION", value_parser = limit(units::parse_duration))]
    retention_age: Option<Limit<Duration>>,
    /// Keep so many bytes of each partition, or `none` for all [default: none]
    #[arg(long, value_name = "SIZE", value_parser = limit(units::parse_size))]
    retention_bytes: Option<Limit<u64>>,
    /// Keep so many records of each partition, or `none` for all [default: none]
    #[arg(long, value_name = "N", value_parser = limit(parse_count))]
    retention_records: Option<Limit<u64>>,
}

impl OptionFlags {
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            partitions,
            durability,
            compress,
            record_bytes,
            batch_bytes,
            segment_bytes,
            segment_age,
            index_interval,
            retention_age,
            retention_bytes,
            retention_records,
        } = self;
        partitions.is_none()
            && durability.is_none()
            && compress.is_none()
            && record_bytes.or(*batch_bytes).is_none()
            && segment_bytes.is_none()
            && segment_age.is_none()
            && index_interval.is_none()
            && retention_age.is_none()
            && retention_bytes.or(*retention_records).is_none()
    }

    /// `options`, with the flags that were given over them.
    pub(super) fn over(&self, mut options: TopicOptions) -> TopicOptions {
        fn set<T: Copy>(field: &mut T, flag: Option<T>) {
            if let Some(value) = flag {
                *field = value;
            }
        }
        set(&mut options.partitions, self.partitions);
        set(&mut options.durability, self.durability);
        set(&mut options.codec, self.compress);
        set(&mut options.record_bytes_max, self.record_bytes);
        set(&mut options.batch_bytes_max, self.batch_bytes);
        set(&mut options.segment_bytes_max, self.segment_bytes);
        set(&mut options.segment_age_max, self.segment_age);
        set(&mut options.index_interval_bytes, self.index_interval);
        let retention = &mut options.retention;
        set(&mut retention.age, self.retention_age.map(|limit| limit.0));
        set(
            &mut retention.bytes,
            self.retention_bytes.map(|limit| limit.0),
        );
        set(
            &mut retention.records,
            self.retention_records.map(|limit| limit.0),
        );
        options
    }
}

/// Accepts the levels of durability by name.
pub(crate) fn durability_parser() -> impl TypedValueParser<Value = Durability> {
    PossibleValuesParser::new(["durable", "buffered", "transient"])
        .try_map(|name| name.parse::<Durability>())
}

/// Accepts the codecs by name.
pub(crate) fn codec_parser() -> impl TypedValueParser<Value = Codec> {
    PossibleValuesParser::new(["none", "lz4"]).try_map(|name| name.parse::<Codec>())
}

/// Accepts what `parse` accepts, and `none`.
pub(crate) fn limit<T: Clone + Send + Sync + 'static>(
    parse: fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<Limit<T>, String> + Clone + Send + Sync + 'static {
    move |text| match text {
        "none" => Ok(Limit(None)),
        text => parse(text).map(|value| Limit(Some(value))),
    }
}

fn parse_count(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a number of records"))
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
        let before = TopicOptions::default().partitions(3);
        assert!(flags("").is_empty());
        assert_eq!(flags("").over(before.clone()), before);
        let line = "--segment-bytes 64MiB --retention-age 7d --durability buffered";
        let mut expected = before.clone();
        expected.segment_bytes_max = 64 << 20;
        expected.retention.age = Some(Duration::from_secs(7 * 86_400));
        expected.durability = Durability::Buffered;
        assert_eq!(flags(line).over(before), expected);
    }

    #[test]
    fn a_limit_can_be_taken_away() {
        let mut options = TopicOptions::default();
        options.retention.bytes = Some(1);
        let flags = flags("--retention-bytes none");
        assert!(!flags.is_empty());
        assert_eq!(flags.over(options), TopicOptions::default());
    }

    #[test]
    fn every_flag_counts_as_one_given() {
        for flag in [
            "--partitions 1",
            "--durability durable",
            "--compress none",
            "--record-bytes 1M",
            "--batch-bytes 64K",
            "--segment-bytes 1M",
            "--segment-age 1d",
            "--index-interval 4K",
            "--retention-age none",
            "--retention-bytes none",
            "--retention-records 10",
        ] {
            assert!(!flags(flag).is_empty(), "{flag}");
        }
    }
}
