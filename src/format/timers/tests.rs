//! Tests of timer runs.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;

mod golden;

const STORE: StoreId = StoreId::new([4; 16]);

fn seed() -> Seed {
    run_seed(STORE, 9)
}

fn timer() -> impl Strategy<Value = Timer> {
    let near = (0..2_000_i64, 0..3_u32, 0..3_u32, 0..5_000_u64);
    let far = any::<(i64, u32, u32, u64)>();
    (prop_oneof![near, far], any::<bool>()).prop_map(|((due, topic, partition, offset), wake)| {
        Timer {
            due: Timestamp::from_millis(due),
            kind: if wake {
                TimerKind::Wake
            } else {
                TimerKind::Expire
            },
            partition: PartitionId {
                topic: TopicId::new(topic),
                partition,
            },
            offset: Offset::new(offset),
        }
    })
}

fn timers(max: usize) -> impl Strategy<Value = Vec<Timer>> {
    btree_set(timer(), 1..max).prop_map(|set| set.into_iter().collect())
}

/// All blocks of a run of `timers`.
fn blocks(timers: &[Timer]) -> Vec<BytesMut> {
    let (mut rest, mut out) = (timers, Vec::new());
    while !rest.is_empty() {
        let (first, number) = (timers.len() - rest.len(), out.len() + 1);
        let mut block = BytesMut::new();
        let count = encode_block(rest, to_u64(first), seed(), to_u64(number), &mut block);
        assert_eq!(block.len(), TIMER_BLOCK_LEN);
        rest = &rest[count..];
        out.push(block);
    }
    out
}

/// Puts the checksum of `bytes` right.
fn reseal(bytes: &mut [u8], seed: Seed) {
    let crc = seed.checksum(&bytes[4..]);
    patch_u32(bytes, 0, crc);
}

fn header() -> RunHeader {
    RunHeader {
        store: STORE,
        number: 9,
        entries: 5_000,
        blocks: 12,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(64)
    })]

    #[test]
    #[cfg_attr(miri, ignore = "a checksum of 4 KiB takes a second there")]
    fn any_timers_come_back(timers in timers(1_500)) {
        let mut found = Vec::new();
        for (block, number) in blocks(&timers).iter().zip(1..) {
            let mut part = Vec::new();
            let first = decode_block(block, seed(), number, &mut part).unwrap();
            prop_assert_eq!(first, to_u64(found.len()));
            found.extend(part);
        }
        prop_assert_eq!(found, timers);
    }

    #[test]
    #[cfg_attr(miri, ignore = "a checksum of 4 KiB takes a second there")]
    fn a_block_is_full_before_the_next_one_begins(timers in timers(1_500)) {
        let blocks = blocks(&timers);
        for block in &blocks[..blocks.len() - 1] {
            let tail = block.iter().rev().take_while(|byte| **byte == 0).count();
            prop_assert!(tail < 30, "{} bytes are left", tail);
        }
    }

    #[test]
    fn any_header_comes_back(number: u64, blocks in 1..=RUN_BLOCKS_MAX, share in 0..1020_u64) {
        let header = RunHeader { store: STORE, number, entries: blocks * (share + 1), blocks };
        prop_assert_eq!(RunHeader::decode(&header.encode()), Ok(header));
    }

    #[test]
    #[cfg_attr(miri, ignore = "decodes a thousand prefixes")]
    fn any_state_comes_back_and_leaves_what_follows(
        runs in vec((0..9_u64, 0..99_u64, 1..99_u64), 0..5),
        fresh in btree_set(timer(), 0..50),
        tail: Vec<u8>,
    ) {
        let mut next = 0;
        let runs = runs.into_iter().map(|(gap, taken, left)| {
            next += gap + 1;
            RunMeta { number: next, entries: taken + left, taken }
        });
        let state = TimerState { runs: runs.collect(), fresh: fresh.into_iter().collect() };
        let mut out = BytesMut::new();
        state.encode(&mut out);
        for cut in 0..out.len() {
            prop_assert!(TimerState::decode(&mut Cursor::new(&out[..cut])).is_err(), "{}", cut);
        }
        out.extend_from_slice(&tail);
        let mut cursor = Cursor::new(&out);
        prop_assert_eq!(TimerState::decode(&mut cursor), Ok(state));
        prop_assert_eq!(cursor.rest(), &tail);
    }

    #[test]
    fn any_bytes_are_a_block_with_one_meaning_or_none(
        timers in timers(300),
        changes in vec((4..200_usize, any::<u8>()), 0..3),
    ) {
        let mut bytes = blocks(&timers).swap_remove(0);
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        reseal(&mut bytes, seed().and(1));
        let mut found = Vec::new();
        if let Ok(first) = decode_block(&bytes, seed(), 1, &mut found) {
            let mut again = BytesMut::new();
            prop_assert_eq!(encode_block(&found, first, seed(), 1, &mut again), found.len());
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn any_bytes_are_a_header_with_one_meaning_or_none(
        changes in vec((4..80_usize, any::<u8>()), 0..4),
    ) {
        let mut bytes = header().encode();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let id = bytes[16..32].try_into().unwrap();
        let number = u64::from_le_bytes(bytes[32..40].try_into().unwrap());
        reseal(&mut bytes, run_seed(StoreId::new(id), number).and(0));
        if let Ok(header) = RunHeader::decode(&bytes) {
            prop_assert_eq!(header.encode(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_a_state_with_one_meaning_or_none(
        bytes in vec(prop_oneof![0..4_u8, any::<u8>()], 0..60),
    ) {
        let mut cursor = Cursor::new(&bytes);
        if let Ok(state) = TimerState::decode(&mut cursor) {
            let mut again = BytesMut::new();
            state.encode(&mut again);
            let len = bytes.len() - cursor.rest().len();
            prop_assert_eq!(&again, &bytes[..len]);
        }
    }
}

fn plain(count: u64) -> Vec<Timer> {
    let timer = |n| Timer {
        due: Timestamp::from_millis(1_700_000_000_000),
        kind: TimerKind::Wake,
        partition: PartitionId {
            topic: TopicId::new(3),
            partition: 1,
        },
        offset: Offset::new(n),
    };
    (0..count).map(timer).collect()
}

#[test]
#[cfg_attr(miri, ignore = "a checksum of 4 KiB takes a second there")]
fn every_flipped_bit_is_noticed() {
    let block = blocks(&plain(40)).swap_remove(0);
    let header = header().encode();
    for bit in 0..TIMER_BLOCK_LEN * 8 {
        let mut bytes = block.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let result = decode_block(&bytes, seed(), 1, &mut Vec::new());
        assert!(result.is_err(), "bit {bit} of a block");
        let mut bytes = header.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(RunHeader::decode(&bytes).is_err(), "bit {bit} of a header");
    }
}

#[test]
fn a_block_of_another_place_run_or_store_is_refused() {
    let block = blocks(&plain(40)).swap_remove(0);
    let mut timers = Vec::new();
    assert_eq!(decode_block(&block, seed(), 1, &mut timers), Ok(0));
    let other = StoreId::new([5; 16]);
    for (run, number) in [
        (seed(), 2),
        (run_seed(STORE, 8), 1),
        (run_seed(other, 9), 1),
    ] {
        assert!(decode_block(&block, run, number, &mut timers).is_err());
    }
}

#[test]
fn a_block_or_header_of_another_length_is_refused() {
    let block = blocks(&plain(40)).swap_remove(0);
    for bytes in [block, header().encode()] {
        let mut longer = bytes.clone();
        longer.put_u8(0);
        for bytes in [&bytes[..0], &bytes[..60], &bytes[..4095], &longer] {
            assert!(RunHeader::decode(bytes).is_err());
            assert!(decode_block(bytes, seed(), 1, &mut Vec::new()).is_err());
        }
    }
}

#[test]
fn neighbours_take_four_bytes_and_a_block_never_more_than_its_maximum() {
    let blocks = blocks(&plain(3_000));
    let mut timers = Vec::new();
    decode_block(&blocks[1], seed(), 2, &mut timers).unwrap();
    assert!(timers.len() > BLOCK_TIMERS_MAX - 5, "{}", timers.len());
    assert!(timers.len() <= BLOCK_TIMERS_MAX);
}

#[test]
fn a_header_with_impossible_counts_is_refused() {
    for (entries, blocks) in [
        (0, 0),
        (1, 2),
        (1021, 1),
        (u64::MAX, 1),
        (u64::MAX, u64::MAX),
        (RUN_BLOCKS_MAX + 1, RUN_BLOCKS_MAX + 1),
    ] {
        let header = RunHeader {
            entries,
            blocks,
            ..header()
        };
        let found = RunHeader::decode(&header.encode());
        assert!(found.is_err(), "{entries} in {blocks} blocks");
    }
}

#[test]
fn timers_that_do_not_rise_are_refused() {
    let timer = plain(1)[0];
    for second in [timer, plain(2)[1]] {
        let mut bytes = BytesMut::new();
        bytes.put_u32_le(0);
        bytes.put_u32_le(2);
        bytes.put_u64_le(0);
        put_timer(&mut bytes, &second, None);
        put_timer(&mut bytes, &timer, Some(&second));
        seal(&mut bytes, 0, seed().and(1));
        let result = decode_block(&bytes, seed(), 1, &mut Vec::new());
        let Err(DecodeError::Value { expected, .. }) = result else {
            panic!("{result:?}");
        };
        assert_eq!(expected, "timers that rise");
    }
}

#[test]
fn a_state_whose_runs_do_not_rise_or_are_spent_is_refused() {
    let run = |number, entries, taken| RunMeta {
        number,
        entries,
        taken,
    };
    for runs in [
        vec![run(2, 5, 5)],
        vec![run(2, 5, 6)],
        vec![run(2, 0, 0)],
        vec![run(2, 5, 0), run(2, 5, 0)],
        vec![run(2, 5, 0), run(1, 5, 0)],
    ] {
        let state = TimerState {
            runs,
            fresh: Vec::new(),
        };
        let mut out = BytesMut::new();
        state.encode(&mut out);
        let found = TimerState::decode(&mut Cursor::new(&out));
        assert!(found.is_err(), "{state:?}");
    }
}
