//! Tests of changes and saved ledgers.

use super::*;
use bytes::BytesMut;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn offset() -> impl Strategy<Value = Offset> {
    prop_oneof![0..1000_u64, 0..u64::MAX].prop_map(Offset::new)
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_millis)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (offset(), 1..u64::MAX).prop_map(|(from, count)| Change::Done {
            from,
            to: from.saturating_add(count),
        }),
        (offset(), time(), option::of(any::<u64>()))
            .prop_map(|(offset, due, key)| { Change::Delayed { offset, due, key } }),
        (offset(), 1..u32::MAX, time()).prop_map(|(offset, failures, first)| Change::Failed {
            offset,
            failures,
            first,
        }),
        offset().prop_map(|offset| Change::Ready { offset }),
        (offset(), time()).prop_map(|(offset, due)| Change::Expires { offset, due }),
        offset().prop_map(|offset| Change::Again { offset }),
    ]
}

fn encoded(changes: &[Change]) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(changes, &mut out);
    out.to_vec()
}

const ID: PartitionId = PartitionId {
    topic: TopicId::new(7),
    partition: 3,
};

fn state_of(floor: u64, done: &[(u64, u64)]) -> LedgerState {
    let pair = |&(from, to): &(u64, u64)| (Offset::new(from), Offset::new(to));
    LedgerState {
        id: ID,
        floor: Offset::new(floor),
        done: done.iter().map(pair).collect(),
        sleeping: Vec::new(),
        delayed: Vec::new(),
        failures: Vec::new(),
    }
}

fn bytes_of(state: &LedgerState) -> Vec<u8> {
    let mut out = BytesMut::new();
    state.encode(&mut out);
    out.to_vec()
}

/// All the bytes that it needs are there, and they are no ledger.
fn is_wrong(found: &Result<LedgerState, DecodeError>) -> bool {
    matches!(found, Err(DecodeError::Value { .. }))
}

/// Decodes all of `bytes`.
fn whole(bytes: &[u8]) -> Result<LedgerState, DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let state = LedgerState::decode(&mut cursor)?;
    assert!(cursor.is_empty(), "bytes are left");
    Ok(state)
}

/// Runs of a sort: some far apart, some dense with holes, some many chunks. Of
/// each its gap to the one before, its length, and whether it sleeps.
fn lengths() -> impl Strategy<Value = Vec<(u64, u64, bool)>> {
    let one = prop_oneof![
        3 => (1..5_u64, 1..5_u64).prop_map(|run| vec![run]),
        2 => (1..9000_u64, 1..20_000_u64).prop_map(|run| vec![run]),
        2 => (1..4_u64, 1..3000_usize).prop_map(|(gap, count)| vec![(gap, 1); count]),
    ];
    let part = (one, any::<bool>()).prop_map(|(runs, sleeps)| {
        let runs = runs.into_iter();
        runs.map(|(gap, len)| (gap, len, sleeps))
            .collect::<Vec<_>>()
    });
    vec(part, 0..8).prop_map(|parts| parts.concat())
}

fn state() -> impl Strategy<Value = LedgerState> {
    let open = vec((0..3000_u64, time(), option::of(any::<u64>())), 0..9);
    let failed = vec((0..3000_u64, 1..u32::MAX, time()), 0..9);
    (offset(), lengths(), open, failed).prop_map(|(floor, lengths, delayed, failed)| {
        let floor = floor.get().min(u64::MAX / 2);
        let mut at = floor;
        let mut state = state_of(floor, &[]);
        // All below the floor is done.
        let mut before = false;
        for (gap, len, sleeps) in lengths {
            // Runs of two lists may touch.
            let from = at + gap - u64::from(sleeps != before);
            (at, before) = (from + len, sleeps);
            let list = if sleeps {
                &mut state.sleeping
            } else {
                &mut state.done
            };
            list.push((Offset::new(from), Offset::new(at)));
        }
        let lists = [state.done.clone(), state.sleeping.clone()];
        let is_open = |at: Offset| {
            let has = |list: &Vec<(Offset, Offset)>| {
                let run = list.partition_point(|run| run.1 <= at);
                list.get(run).is_some_and(|run| run.0 <= at)
            };
            !lists.iter().any(has)
        };
        let mut at = floor;
        for (gap, due, key) in delayed {
            let offset = Offset::new(at + gap);
            at = offset.get() + 1;
            if is_open(offset) {
                state.delayed.push(SavedDelay { offset, due, key });
            }
        }
        let mut at = floor;
        for (gap, failures, first) in failed {
            let offset = Offset::new(at + gap);
            at = offset.get() + 1;
            if is_open(offset) {
                state.failures.push(SavedFailures {
                    offset,
                    failures,
                    first,
                });
            }
        }
        state
    })
}

proptest! {
    #[test]
    fn changes_come_back_and_their_prefixes_do_not(
        changes in vec(change(), 1..9),
        tail: Vec<u8>,
    ) {
        let mut bytes = encoded(&changes);
        prop_assert!(bytes.len() <= encoded_len_max(&changes));
        for cut in 0..bytes.len() {
            prop_assert!(decode(&mut Cursor::new(&bytes[..cut])).is_err(), "cut at {}", cut);
        }
        bytes.extend_from_slice(&tail);
        let mut cursor = Cursor::new(&bytes);
        prop_assert_eq!(decode(&mut cursor), Ok(changes));
        prop_assert_eq!(cursor.rest(), &tail[..]);
    }

    #[test]
    fn any_bytes_are_refused_or_mean_one_list_of_changes(
        bytes in vec(prop_oneof![0..5_u8, any::<u8>()], 0..60),
    ) {
        let mut cursor = Cursor::new(&bytes);
        if let Ok(changes) = decode(&mut cursor) {
            let taken = bytes.len() - cursor.rest().len();
            prop_assert_eq!(&encoded(&changes)[..], &bytes[..taken]);
        }
    }

    #[test]
    fn a_saved_ledger_comes_back_and_its_prefixes_do_not(
        state in state(),
        cuts in vec(any::<proptest::sample::Index>(), 20),
    ) {
        let bytes = bytes_of(&state);
        for cut in &cuts {
            let cut = cut.index(bytes.len());
            let found = LedgerState::decode(&mut Cursor::new(&bytes[..cut]));
            prop_assert!(found.is_err(), "cut at {}", cut);
        }
        prop_assert_eq!(whole(&bytes), Ok(state));
    }

    #[test]
    fn any_bytes_are_refused_or_mean_one_ledger(
        bytes in vec(prop_oneof![0..4_u8, any::<u8>()], 0..60),
    ) {
        let mut cursor = Cursor::new(&bytes);
        if let Ok(state) = LedgerState::decode(&mut cursor) {
            let taken = bytes.len() - cursor.rest().len();
            prop_assert_eq!(&bytes_of(&state)[..], &bytes[..taken]);
        }
    }

    #[test]
    fn a_changed_byte_is_refused_or_means_another_ledger(
        state in state(),
        at: proptest::sample::Index,
        byte in prop_oneof![0..4_u8, any::<u8>()],
    ) {
        let mut bytes = bytes_of(&state);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let mut cursor = Cursor::new(&bytes);
        if let Ok(found) = LedgerState::decode(&mut cursor) {
            let taken = bytes.len() - cursor.rest().len();
            prop_assert_eq!(&bytes_of(&found)[..], &bytes[..taken]);
        }
    }
}

#[test]
fn a_change_is_as_the_document_shows_it() {
    let offset = Offset::new(300);
    let millis = Timestamp::from_millis;
    let cases: [(Change, &[u8]); 7] = [
        (
            Change::Done {
                from: offset,
                to: Offset::new(302),
            },
            &[1, 1, 0xac, 2, 2],
        ),
        (
            Change::Delayed {
                offset,
                due: millis(1),
                key: None,
            },
            &[1, 2, 0xac, 2, 2, 0],
        ),
        (
            Change::Delayed {
                offset,
                due: millis(-1),
                key: Some(0x0102_0304_0506_0708),
            },
            &[1, 2, 0xac, 2, 1, 1, 8, 7, 6, 5, 4, 3, 2, 1],
        ),
        (
            Change::Failed {
                offset,
                failures: 3,
                first: millis(2),
            },
            &[1, 3, 0xac, 2, 3, 4],
        ),
        (Change::Ready { offset }, &[1, 4, 0xac, 2]),
        (Change::Again { offset }, &[1, 6, 0xac, 2]),
        (
            Change::Expires {
                offset,
                due: Timestamp::from_millis(1),
            },
            &[1, 5, 0xac, 2, 2],
        ),
    ];
    for (change, bytes) in cases {
        assert_eq!(encoded(&[change]), bytes, "{change:?}");
    }
}

#[test]
fn a_saved_ledger_is_as_the_document_shows_it() {
    let mut state = state_of(10, &[(12, 14), (15, 16), (4090, 12_290)]);
    let run = |from, to| (Offset::new(from), Offset::new(to));
    state.sleeping = vec![run(11, 12), run(16, 19)];
    for (offset, due, failures, first) in [(10, 5, 2, 3), (14, 4, 1, 1)] {
        state.delayed.push(SavedDelay {
            offset: Offset::new(offset),
            due: Timestamp::from_millis(due),
            key: None,
        });
        state.failures.push(SavedFailures {
            offset: Offset::new(offset),
            failures,
            first: Timestamp::from_millis(first),
        });
    }
    let bytes = [
        &[7, 3, 10][..],
        // Runs at 12, 15 and 4090 of chunk 0; chunks 1 and 2; the start of 3.
        &[1, 0, 3, 12, 1, 1, 0, 0xea, 0x1f, 5],
        &[3, 0, 2],
        &[1, 0, 1, 0, 1],
        &[0],
        // Runs at 11 and 16 of chunk 0.
        &[1, 0, 2, 11, 0, 4, 2],
        &[0],
        &[2, 0, 10, 0, 3, 1, 0],
        &[2, 0, 2, 6, 3, 1, 3],
    ];
    assert_eq!(bytes_of(&state), bytes.concat());
}

#[test]
fn every_second_offset_takes_a_bit_not_two_bytes() {
    let done: Vec<_> = (0..500_000).map(|n| (2 * n + 1, 2 * n + 2)).collect();
    let bytes = bytes_of(&state_of(0, &done));
    assert!(bytes.len() < 245 * (512 + 2) + 10, "{}", bytes.len());
    assert_eq!(whole(&bytes), Ok(state_of(0, &done)));
    let mut sleeping = state_of(0, &[]);
    sleeping.sleeping = state_of(0, &done).done;
    assert_eq!(bytes_of(&sleeping).len(), bytes.len());
}

#[test]
fn runs_that_take_as_much_as_the_bitmap_stay_runs() {
    // A count of two bytes, and 255 runs of two: one more than a bitmap has.
    let runs = |count| (0..count).map(|n| (2 * n + 1, 2 * n + 2)).collect();
    let at_most: Vec<_> = runs(255);
    let beyond: Vec<_> = runs(256);
    let (small, large) = (
        bytes_of(&state_of(0, &at_most)),
        bytes_of(&state_of(0, &beyond)),
    );
    assert_eq!((small[3], small.len()), (1, 3 + 2 + 512 + 4));
    assert_eq!((large[3], large.len()), (2, 3 + 2 + 512 + 4));
}

#[test]
fn blocks_that_have_a_shorter_or_another_form_are_refused() {
    let bitmap = |byte: u8| {
        let mut block = vec![2, 0];
        block.resize(514, byte);
        block
    };
    let cases: [(&str, Vec<u8>); 12] = [
        ("runs that touch", vec![1, 0, 2, 5, 0, 0, 0]),
        ("no runs", vec![1, 0, 0]),
        ("a run at the floor", vec![1, 0, 1, 0, 0]),
        ("a run beyond its chunk", vec![1, 0, 1, 0xff, 0x1f, 1]),
        ("a full chunk as runs", vec![1, 1, 1, 0, 0xff, 0x1f]),
        ("a full chunk as a bitmap", bitmap(0xff)),
        ("an empty bitmap", bitmap(0)),
        (
            "a bitmap of few runs",
            bitmap(0x80)[..100]
                .iter()
                .copied()
                .chain([0; 414])
                .collect(),
        ),
        ("full chunks in two blocks", vec![3, 1, 1, 3, 0, 1]),
        ("no full chunks", vec![3, 1, 0]),
        ("a kind that is none", vec![4, 0]),
        (
            "a chunk beyond the last",
            vec![1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 8, 1, 0, 0],
        ),
    ];
    let done = |block: &[u8]| whole(&[&[7, 3, 0], block, &[0, 0, 0, 0]].concat());
    let sleeping = |block: &[u8]| whole(&[&[7, 3, 0, 0], block, &[0, 0, 0]].concat());
    for (what, block) in cases {
        let at_floor = what == "a run at the floor";
        assert!(is_wrong(&done(&block)), "{what} is done");
        assert_eq!(is_wrong(&sleeping(&block)), !at_floor, "{what} sleeps");
    }
    assert!(done(&bitmap(0xaa)).is_ok(), "a bitmap that earns its place");
    assert!(sleeping(&bitmap(0x55)).is_ok(), "and from the floor on");
    let below = whole(&[7, 3, 9, 0, 1, 0, 1, 8, 0, 0, 0, 0]);
    assert!(is_wrong(&below), "a run below the floor sleeps: {below:?}");
}

#[test]
fn a_message_that_is_done_or_sleeps_is_neither_delayed_nor_has_it_failed() {
    let done: &[u8] = &[7, 3, 0, 1, 0, 1, 5, 2, 0, 0];
    let sleeping: &[u8] = &[7, 3, 0, 0, 1, 0, 1, 5, 2, 0];
    for lists in [done, sleeping] {
        let with = |delayed: &[u8], failed: &[u8]| whole(&[lists, delayed, failed].concat());
        assert!(with(&[1, 4, 0, 0], &[1, 8, 1, 0]).is_ok());
        for at in 5..8 {
            assert!(is_wrong(&with(&[1, at, 0, 0], &[0])), "{at} is delayed");
            assert!(is_wrong(&with(&[0], &[1, at, 1, 0])), "{at} failed");
        }
        assert!(is_wrong(&with(&[0], &[1, 8, 0, 0])), "never failed");
    }
}

#[test]
fn a_message_that_is_done_does_not_sleep() {
    // 5 to 7 are done.
    let with = |at, further| whole(&[7, 3, 0, 1, 0, 1, 5, 2, 0, 1, 0, 1, at, further, 0, 0, 0]);
    for (at, further) in [(3, 1), (0, 4), (8, 0), (8, 120)] {
        assert!(with(at, further).is_ok(), "{at} and {further} more");
    }
    for (at, further) in [(0, 5), (3, 9), (5, 0), (5, 2), (6, 0), (7, 1)] {
        assert!(is_wrong(&with(at, further)), "{at} and {further} more");
    }
}

#[test]
fn changes_that_no_ledger_makes_are_refused() {
    let most = [0xff; 9];
    let cases: [(&str, Vec<u8>); 6] = [
        ("none", vec![0]),
        ("an empty run", vec![1, 1, 5, 0]),
        (
            "a run beyond the last",
            [&[1, 1, 5][..], &most, &[1]].concat(),
        ),
        ("the largest number", [&[1, 4][..], &most, &[1]].concat()),
        ("no failure", vec![1, 3, 5, 0, 0]),
        ("a flag that is none", vec![1, 2, 5, 0, 2]),
    ];
    for (what, bytes) in cases {
        let found = decode(&mut Cursor::new(&bytes));
        assert!(
            matches!(found, Err(DecodeError::Value { .. })),
            "{what}: {found:?}"
        );
    }
    let found = decode(&mut Cursor::new(&[1, 7, 0]));
    assert!(
        matches!(found, Err(DecodeError::Unsupported { .. })),
        "{found:?}"
    );
}

#[test]
fn a_count_is_no_request_for_memory() {
    let mut count = BytesMut::new();
    put_varint(&mut count, u64::MAX);
    let head = [7, 3, 0];
    for before in [&[0, 0][..], &[0, 0, 0], &[1, 0], &[0, 1, 0]] {
        let bytes = [&head[..], before, &count].concat();
        let found = whole(&bytes);
        assert!(
            matches!(found, Err(DecodeError::Incomplete { .. })),
            "{found:?}"
        );
    }
    let full = whole(&[&head[..], &[3, 1, 0xff, 0xff, 0xff, 0xff, 7, 0, 0, 0, 0]].concat());
    assert_eq!(full.map(|state| state.done.len()), Ok(1));
    assert!(decode(&mut Cursor::new(&count)).is_err());
}
