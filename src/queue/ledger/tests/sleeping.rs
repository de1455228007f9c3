//! Messages that were sent with a delay: what they take, and what wakes them.

use super::*;

const MILLION: u64 = 1_000_000;

/// A ledger in which so many messages sleep, each `step` offsets behind the one
/// before, and the bytes of heap that it has.
fn asleep(count: u64, step: usize) -> (Ledger, u64) {
    let mut ledger = Ledger::new(Offset::ZERO);
    let used = allocation_counter::measure(|| {
        for n in (0..).step_by(step).take(to_usize(count)) {
            // Each is due at a time of its own: that costs nothing.
            ledger.delay(at(n), seconds(n % 977), None);
        }
    });
    assert_eq!(ledger.delayed(), count);
    let heap = u64::try_from(used.bytes_current).unwrap();
    (ledger, heap)
}

fn saved_len(ledger: &Ledger) -> usize {
    let mut bytes = BytesMut::new();
    ledger.save(ID).encode(&mut bytes);
    bytes.len()
}

#[test]
fn a_million_delayed_messages_in_a_row_take_less_than_a_kibibyte() {
    let (ledger, heap) = asleep(MILLION, 1);
    assert!(heap < 1024, "{heap} bytes of heap");
    let told = ledger.memory_bytes();
    assert!(told < 1024, "{told} bytes by its own account");
    let saved = saved_len(&ledger);
    assert!(saved < 32, "{saved} bytes in a snapshot");
}

#[test]
fn a_delayed_message_at_every_second_offset_takes_two_bits_and_a_half() {
    let (ledger, heap) = asleep(MILLION / 2, 2);
    assert!(heap < 200 << 10, "{heap} bytes of heap");
    let told = ledger.memory_bytes();
    assert!(told < 200 << 10, "{told} bytes by its own account");
    let saved = saved_len(&ledger);
    assert!(saved < 130_000, "{saved} bytes in a snapshot");
}

#[test]
fn a_delayed_message_that_is_alone_among_4096_takes_less_than_a_hundred_bytes() {
    let count = 10_000;
    let (ledger, heap) = asleep(count, 4096);
    assert!(heap < 100 * count, "{} bytes each", heap / count);
    let told = ledger.memory_bytes();
    assert!(told < 100 * count, "{} bytes each, it says", told / count);
    assert!(to_u64(saved_len(&ledger)) < 8 * count);
}

#[test]
fn delayed_messages_that_wake_in_any_order_take_a_bit_and_a_fifth_at_most() {
    let (mut ledger, _) = asleep(MILLION, 1);
    let most = MILLION / 8 * 6 / 5;
    for n in 0..MILLION {
        // Each once, far from the one before.
        assert!(ledger.wake(at(n * 7919 % MILLION), seconds(n)));
        if n % 100_000 == 0 {
            let (told, saved) = (ledger.memory_bytes(), saved_len(&ledger));
            assert!(told < most, "{told} bytes after {n}");
            assert!(
                to_u64(saved) < most,
                "{saved} bytes in a snapshot after {n}"
            );
        }
    }
    assert_eq!(ledger.delayed(), 0);
}

#[test]
fn one_that_sleeps_is_woken_by_its_timer_after_a_restart_too() {
    story(
        "send 5; delay 1 50; delay 3 70; receive 9 -> 0 2 4; restart; delayed -> 2; ready -> 3
         wake 3 70 -> true; wake 3 70 -> false; receive 9 -> 0 2 3 4; delayed -> 1
         restart; wake 1 50 -> true; receive 9 -> 0 1 2 3 4; delayed -> 0",
    );
}

#[test]
fn a_timer_of_a_first_delay_wakes_nothing_that_waits_for_a_retry() {
    story(
        "send 1; delay 0 50; wake 0 50 -> true; receive 1 -> 0; nack 0 -> 1; delay 0 90
         wake 0 50 -> false; restart; wake 0 50 -> false; delayed -> 1; wake 0 90 -> true
         receive 1 -> 0",
    );
}

#[test]
fn a_first_delay_that_is_replayed_over_a_failure_waits_for_its_own_time() {
    let offset = at(0);
    let delayed = |n| Change::Delayed {
        offset,
        due: seconds(n),
        key: None,
    };
    let failed = Change::Failed {
        offset,
        failures: 1,
        first: seconds(60),
    };
    let mut ledger = Ledger::new(Offset::ZERO);
    // A snapshot of a later moment than the log that follows it.
    for change in [delayed(50), failed, delayed(90), delayed(50)] {
        ledger.apply(&change);
    }
    assert_eq!(ledger.delay_of(offset), Some(Delay::Retry(seconds(50))));
    assert!(!ledger.wake(offset, seconds(90)));
    for change in [failed, delayed(90)] {
        ledger.apply(&change);
    }
    assert!(!ledger.wake(offset, seconds(50)));
    assert!(ledger.wake(offset, seconds(90)));
}

#[test]
fn those_that_are_called_off_purged_or_beyond_the_end_sleep_no_more() {
    let (mut ledger, _) = asleep(MILLION, 1);
    let end = at(MILLION);
    assert_eq!(ledger.ready(end), 0);
    assert_eq!(ledger.ready(at(MILLION + 5)), 5);
    ledger.done(at(7), at(8));
    assert!(!ledger.wake(at(7), seconds(7)), "it was called off");
    assert_eq!((ledger.delayed(), ledger.done_len()), (MILLION - 1, 1));
    ledger.clip(at(MILLION / 2));
    assert_eq!(ledger.delayed(), MILLION / 2 - 1);
    assert!(!ledger.wake(end, seconds(1)), "others have its offset");
    ledger.apply(&Change::Ready { offset: at(9) });
    assert_eq!(ledger.delay_of(at(9)), None);
    assert_eq!(ledger.ready(at(MILLION / 2)), 1);
    let used = allocation_counter::measure(|| ledger.done(at(0), end));
    assert!(used.count_total < 10, "{used:?}");
    assert_eq!((ledger.delayed(), ledger.floor()), (0, end));
    assert_eq!(ledger.memory_bytes(), to_u64(size_of::<Ledger>()));
}
