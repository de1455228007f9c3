//! Golden timers: a run and a state, in bytes that never change.

use super::*;

// As in `format::golden`.
const STORE: StoreId = StoreId::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
const NUMBER: u64 = 9;

const RUN: &[u8] = include_bytes!("../../../../tests/fixtures/v1/timers.bin");
const STATE: &[u8] = include_bytes!("../../../../tests/fixtures/v1/timer-state.bin");

/// Of both kinds, at the ends of the scale and close together.
fn values() -> [Timer; 5] {
    let timer = |due, kind, topic, partition, offset| Timer {
        due: Timestamp::from_millis(due),
        kind,
        partition: PartitionId {
            topic: TopicId::new(topic),
            partition,
        },
        offset: Offset::new(offset),
    };
    let now = 1_700_000_000_000;
    [
        timer(i64::MIN, TimerKind::Wake, 7, 3, 0),
        timer(now, TimerKind::Wake, 7, 3, 1001),
        timer(now, TimerKind::Expire, 7, 3, 1000),
        timer(now + 250, TimerKind::Expire, 7, 3, 1002),
        timer(i64::MAX, TimerKind::Expire, u32::MAX, u32::MAX, u64::MAX),
    ]
}

fn header() -> RunHeader {
    RunHeader {
        store: STORE,
        number: NUMBER,
        entries: 5,
        blocks: 1,
    }
}

fn run() -> BytesMut {
    let mut out = header().encode();
    encode_block(&values(), 0, run_seed(STORE, NUMBER), 1, &mut out);
    out
}

fn state() -> TimerState {
    let run = |number, entries, taken| RunMeta {
        number,
        entries,
        taken,
    };
    TimerState {
        runs: vec![run(NUMBER, 5, 2), run(300, 10_000_000, 0)],
        fresh: values().to_vec(),
    }
}

fn encoded_state() -> BytesMut {
    let mut out = BytesMut::new();
    state().encode(&mut out);
    out
}

#[test]
fn timers_are_encoded_to_the_golden_bytes() {
    assert_eq!(run(), RUN, "timers.bin");
    assert_eq!(encoded_state(), STATE, "timer-state.bin");
}

#[test]
fn the_golden_timers_are_read() {
    let (first, block) = RUN.split_at(TIMER_BLOCK_LEN);
    assert_eq!(RunHeader::decode(first), Ok(header()));
    let mut found = Vec::new();
    let seed = run_seed(STORE, NUMBER);
    assert_eq!(decode_block(block, seed, 1, &mut found), Ok(0));
    assert_eq!(found, values());
    let decoded = TimerState::decode(&mut Cursor::new(STATE));
    assert_eq!(decoded, Ok(state()));
}

#[test]
fn a_run_of_a_later_version_is_unsupported() {
    let mut bytes = header().encode();
    bytes[8] = 2;
    reseal(&mut bytes, run_seed(STORE, NUMBER).and(0));
    let found = RunHeader::decode(&bytes);
    let right = matches!(found, Err(DecodeError::Unsupported { .. }));
    assert!(right, "{found:?}");
}

#[test]
#[ignore = "overwrites tests/fixtures/v1: only before the format is released"]
#[expect(
    clippy::disallowed_methods,
    reason = "writes into the source tree, not a store"
)]
fn make_the_golden_files_anew() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1");
    std::fs::write(root.join("timers.bin"), run()).unwrap();
    std::fs::write(root.join("timer-state.bin"), encoded_state()).unwrap();
}
