//! Tests of snapshots.

use super::*;
use crate::format::dedup::Seen;
use crate::format::timers::{Timer, TimerKind};
use crate::options::{QueueOptions, TopicOptions};
use proptest::collection::vec;
use proptest::prelude::*;

const STORE: StoreId = StoreId::new([4; 16]);

fn id() -> impl Strategy<Value = PartitionId> {
    (any::<u32>(), any::<u32>()).prop_map(|(topic, partition)| PartitionId {
        topic: TopicId::new(topic),
        partition,
    })
}

/// Segments from lengths, each after the one before.
fn state() -> impl Strategy<Value = PartitionState> {
    let lengths = vec((any::<u32>(), any::<u64>(), any::<i64>()), 0..5);
    (id(), lengths, any::<bool>(), any::<u32>()).prop_map(|(id, lengths, active, beyond)| {
        let mut at = 0;
        let mut segments = Vec::new();
        for (length, number, time) in lengths {
            let base = at + u64::from(length % 3);
            at = base + u64::from(length);
            segments.push(SegmentMeta {
                base: Offset::new(base),
                end: Offset::new(at),
                bytes: number,
                records: !number,
                max_timestamp: Timestamp::from_millis(time),
                created: Timestamp::from_millis(!time),
                sealed: Some(Timestamp::from_millis(time / 2)),
            });
        }
        if let Some(last) = segments.last_mut().filter(|_| active) {
            last.sealed = None;
        }
        PartitionState {
            id,
            start: Offset::new(at / 2),
            flushed: Offset::new(at),
            next: Offset::new(at + u64::from(beyond)),
            segments,
        }
    })
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let garbage = prop_oneof![
        any::<u32>().prop_map(|id| Garbage::Topic(TopicId::new(id))),
        (id(), any::<u64>()).prop_map(|(id, at)| Garbage::Segment(id, Offset::new(at))),
    ];
    let head = (any::<u64>(), any::<u64>(), any::<u32>(), any::<i64>());
    let lists = (vec(".{0,9}", 0..4), vec(state(), 0..4), vec(garbage, 0..4));
    let ledger = (id(), 0..9_u64, 0..9_u64).prop_map(|(id, floor, hole)| LedgerState {
        id,
        floor: Offset::new(floor),
        done: vec![(Offset::new(floor + 1 + hole), Offset::new(floor + 9 + hole))],
        sleeping: vec![(Offset::new(floor), Offset::new(floor + 1))],
        delayed: Vec::new(),
        failures: Vec::new(),
    });
    let timer = (any::<i64>(), id(), any::<u64>()).prop_map(|(due, partition, at)| Timer {
        due: Timestamp::from_millis(due),
        kind: TimerKind::Wake,
        partition,
        offset: Offset::new(at),
    });
    let timers = proptest::collection::btree_set(timer, 0..4);
    let queues = (vec(".{0,9}", 0..4), vec(ledger, 0..4), timers);
    (head, lists, queues).prop_map(|(head, (names, partitions, garbage), queues)| Snapshot {
        lsn: Lsn::new(head.0),
        wal_sequence: head.1,
        next_topic: TopicId::new(head.2),
        trusted_time: Timestamp::from_millis(head.3),
        topics: names
            .into_iter()
            .map(|name| TopicMeta {
                id: TopicId::new(head.2),
                name,
                options: TopicOptions::default(),
            })
            .collect(),
        partitions,
        garbage,
        queues: queues
            .0
            .into_iter()
            .map(|name| QueueMeta {
                id: TopicId::new(head.2),
                name,
                options: QueueOptions::default(),
                source: None,
            })
            .collect(),
        ledgers: queues.1,
        timers: TimerState {
            runs: Vec::new(),
            fresh: queues.2.into_iter().collect(),
        },
        seen: vec![SeenIds {
            queue: TopicId::new(head.2),
            seen: vec![Seen {
                hash: u128::from(head.0) << 9,
                lane: head.2,
                offset: Offset::new(head.1),
                until: Timestamp::from_millis(head.3),
            }],
        }],
    })
}

/// A snapshot with this payload, and valid checksums.
fn with_payload(payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::zeroed(SNAPSHOT_HEADER_LEN);
    out.put_slice(payload);
    Snapshot::default().write_header(&mut out, STORE);
    out
}

/// One section with this content.
fn section(kind: u64, content: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    put_section(&mut out, kind, |out| out.put_slice(content));
    out
}

/// What a section of an empty store has.
fn empty(kind: u64) -> &'static [u8] {
    match kind {
        SECTION_ENGINE => &[0; 9],
        SECTION_TIMERS => &[0; 2],
        _ => &[0],
    }
}

/// The sections of an empty store, one of them replaced.
fn sections(replaced: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for kind in 1..=SECTION_SEEN {
        let content = if kind == replaced {
            content
        } else {
            empty(kind)
        };
        out.extend_from_slice(&section(kind, content));
    }
    out
}

proptest! {
    #[test]
    fn a_snapshot_comes_back(snapshot in snapshot()) {
        let bytes = snapshot.encode(STORE);
        prop_assert_eq!(Snapshot::decode(&bytes, STORE), Ok(snapshot));
    }

    #[test]
    fn any_payload_is_refused_or_means_one_thing(
        kind in 1..=SECTION_SEEN,
        content in vec(prop_oneof![0..4_u8, any::<u8>()], 0..60),
    ) {
        let bytes = with_payload(&sections(kind, &content));
        if let Ok(snapshot) = Snapshot::decode(&bytes, STORE) {
            prop_assert_eq!(snapshot.encode(STORE), bytes);
        }
    }
}

#[test]
fn a_snapshot_without_all_its_sections_in_order_is_refused() {
    let decode = |payload: &[u8]| Snapshot::decode(&with_payload(payload), STORE);
    let whole: Vec<_> = (1..=SECTION_SEEN)
        .map(|kind| section(kind, empty(kind)))
        .collect();
    assert_eq!(decode(&whole.concat()), Ok(Snapshot::default()));
    assert!(decode(&[]).is_err(), "none");
    for missing in 0..whole.len() {
        let mut some = whole.clone();
        some.remove(missing);
        assert!(decode(&some.concat()).is_err(), "{missing} is missing");
    }
    for at in 1..whole.len() {
        let mut swapped = whole.clone();
        swapped.swap(at - 1, at);
        assert!(decode(&swapped.concat()).is_err(), "order at {at}");
        let mut twice = whole.clone();
        twice.insert(at, whole[at].clone());
        assert!(decode(&twice.concat()).is_err(), "{at} twice");
    }
    let later = [&whole.concat()[..], &section(SECTION_SEEN + 1, &[])].concat();
    let found = decode(&later);
    assert!(
        matches!(found, Err(DecodeError::Unsupported { .. })),
        "{found:?}"
    );
}

#[test]
fn a_count_is_no_request_for_memory() {
    let mut content = BytesMut::new();
    put_varint(&mut content, u64::MAX);
    for kind in 2..=SECTION_SEEN {
        let bytes = with_payload(&sections(kind, &content));
        let found = Snapshot::decode(&bytes, STORE);
        assert!(
            matches!(found, Err(DecodeError::Incomplete { .. })),
            "{found:?}"
        );
    }
}

#[test]
fn bytes_after_the_payload_are_not_called_missing() {
    let mut bytes = Snapshot::default().encode(STORE);
    bytes.put_u8(0);
    let found = Snapshot::decode(&bytes, STORE);
    assert!(matches!(found, Err(DecodeError::Value { .. })), "{found:?}");
}

#[test]
fn offsets_that_no_partition_has_are_refused() {
    let active = SegmentMeta {
        base: Offset::new(10),
        end: Offset::new(20),
        bytes: 64,
        records: 10,
        max_timestamp: Timestamp::MIN,
        created: Timestamp::MIN,
        sealed: None,
    };
    let sealed = SegmentMeta {
        sealed: Some(Timestamp::MIN),
        ..active
    };
    let check = |segments: &[SegmentMeta], start, flushed, next| {
        let state = PartitionState {
            id: PartitionId {
                topic: TopicId::ZERO,
                partition: 0,
            },
            start: Offset::new(start),
            flushed: Offset::new(flushed),
            next: Offset::new(next),
            segments: segments.to_vec(),
        };
        let mut out = BytesMut::new();
        state.encode(&mut out);
        PartitionState::decode(&mut Cursor::new(&out)).is_ok()
    };
    assert!(check(&[active], 10, 20, 20));
    assert!(check(&[], 5, 5, 5));
    assert!(!check(&[active], 10, 19, 20), "flushed before the end");
    assert!(!check(&[active], 10, 20, 19), "next before flushed");
    assert!(!check(&[active], 21, 20, 20), "start after next");
    assert!(!check(&[sealed, active], 10, 20, 20), "overlap");
    let follows = SegmentMeta {
        base: Offset::new(20),
        ..active
    };
    assert!(check(&[sealed, follows], 10, 20, 20));
    assert!(!check(&[active, follows], 10, 20, 20), "two are active");
    let backwards = SegmentMeta {
        end: Offset::new(9),
        ..active
    };
    assert!(!check(&[backwards], 0, 20, 20), "ends before its base");
}
