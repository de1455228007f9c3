//! Tests of the log on the simulated disk: who writes, what survives, and what
//! is told apart at recovery.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::files::name;
use super::recover::{From, recover};
use super::replayer::{START, Seen, durable, trim};
use super::{Ask, FilesEnv, Observer, Wal, WalOptions};
use crate::clock::{Clock, ManualClock};
use crate::error::{ErrorKind, Result};
use crate::ids::{StoreId, Timestamp};
use crate::io::FileSystem;
use crate::io::sim::{Crash, FaultRule, OpKind, SimFs};
use crate::options::SyncPolicy;

const FILE_BYTES: u64 = 64 << 10;

struct Bench {
    sim: SimFs,
    clock: Arc<ManualClock>,
}

fn env(sim: &SimFs) -> FilesEnv {
    FilesEnv {
        dir: sim.open_root(Path::new("/wal"), true).unwrap(),
        store: StoreId::new([7; 16]),
        file_bytes: FILE_BYTES,
        direct: true,
    }
}

fn options(sync_policy: SyncPolicy) -> WalOptions {
    WalOptions {
        sync_policy,
        group_bytes_max: 4096,
        commit_bytes_max: FILE_BYTES / 4,
        spares_max: 2,
        in_flight_max: 4,
    }
}

impl Bench {
    fn new(queue: bool) -> Self {
        let sim = SimFs::new(1).with_queue(queue);
        Wal::create(&env(&sim)).unwrap();
        Self {
            sim,
            clock: Arc::new(ManualClock::new(0)),
        }
    }

    fn open(&self, policy: SyncPolicy) -> (Wal, Vec<u64>) {
        open(&self.sim, policy, &self.clock).unwrap()
    }
}

fn open(sim: &SimFs, policy: SyncPolicy, clock: &Arc<ManualClock>) -> Result<(Wal, Vec<u64>)> {
    let mut seen = Seen::default();
    let recovered = recover(&env(sim), START, true, &mut seen)?;
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    let wal = recovered.start(env(sim), options(policy), clock, sim.write_queue(4).ok())?;
    Ok((wal, seen.0))
}

fn commit(wal: &Wal, n: u64) -> Result<()> {
    wal.enqueue(&[trim(n)], durable())?.wait(wal)
}

/// Every test runs on both back ends.
macro_rules! on_each_back_end {
    ($($name:ident,)*) => {
        mod one_at_a_time {
            $(#[test] fn $name() { super::$name(false) })*
        }
        mod several_in_flight {
            $(#[test] fn $name() { super::$name(true) })*
        }
    };
}

on_each_back_end! {
    a_lone_caller_writes_and_syncs_once_a_commit,
    a_clock_that_panics_leaves_nobody_waiting,
    who_waits_for_room_leads_when_nobody_does,
    a_waker_that_panics_harms_nobody_else,
    commits_that_wait_together_share_one_sync_and_come_back_in_order,
    sixteen_threads_lose_no_wake_up_and_keep_their_order,
    a_wait_that_times_out_can_be_taken_up_again,
    observers_hear_of_a_commit_once_it_is_durable,
    buffered_commits_are_synced_by_policy,
    sync_covers_what_was_only_written,
    files_are_used_in_turn_and_used_again,
    stale_frames_of_a_file_that_is_used_again_never_come_back,
    a_failed_sync_poisons_for_good_and_is_not_tried_again,
    a_full_disk_at_a_roll_refuses_the_commit_and_goes_on_later,
    damage_below_what_a_later_frame_calls_durable_is_no_torn_tail,
    damage_of_the_last_group_alone_is_cut_as_torn,
    what_only_the_cache_held_survives_a_power_cut_after_recovery,
    a_closed_log_opens_clean_and_goes_on,
    a_missing_file_is_damage_not_an_end,
    a_power_cut_at_every_step_keeps_what_was_acknowledged,
}

fn a_lone_caller_writes_and_syncs_once_a_commit(queue: bool) {
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    let before = bench.sim.counts();
    for n in 0..5 {
        commit(&wal, n).unwrap();
    }
    let after = bench.sim.counts();
    assert_eq!(after.of(OpKind::Write) - before.of(OpKind::Write), 5);
    assert_eq!(after.syncs() - before.syncs(), 5);
}

/// A clock of an embedder, with a defect.
#[derive(Debug)]
struct Fragile {
    broken: AtomicBool,
}

impl Clock for Fragile {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn monotonic(&self) -> Duration {
        assert!(!self.broken.load(Ordering::SeqCst), "a clock that broke");
        Duration::ZERO
    }
}

/// Symptom: after a panic of an embedder's clock inside a write of the log, every
/// later append waited for ever. Cause: the panicking thread kept the lead. Fix: a
/// leader that panics poisons the log.
fn a_clock_that_panics_leaves_nobody_waiting(queue: bool) {
    let bench = Bench::new(queue);
    let mut seen = Seen::default();
    let recovered = recover(&env(&bench.sim), START, true, &mut seen).unwrap();
    let clock = Arc::new(Fragile {
        broken: AtomicBool::new(false),
    });
    let (used, queue) = (Arc::<Fragile>::clone(&clock), bench.sim.write_queue(4).ok());
    let options = options(SyncPolicy::Interval(Duration::from_secs(1)));
    let wal = recovered
        .start(env(&bench.sim), options, used, queue)
        .unwrap();
    let waiting = wal.enqueue(&[trim(1)], Ask::default()).unwrap();
    clock.broken.store(true, Ordering::SeqCst);
    let step = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wal.commit_step()));
    assert!(step.is_err(), "the clock broke");
    let told = waiting.wait(&wal).map_err(|error| error.kind());
    assert_eq!(told, Err(ErrorKind::Poisoned));
    let refused = commit(&wal, 2).map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::Poisoned));
}

/// A clock that stands in the way of a thread that writes the log.
#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.changed.notify_all();
    }
}

impl Clock for Gate {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn monotonic(&self) -> Duration {
        let closed = self.closed.lock().unwrap();
        drop(self.changed.wait_while(closed, |closed| *closed).unwrap());
        Duration::ZERO
    }
}

/// Symptom: without background threads an append slept for ever in front of full
/// groups. Cause: who gave up the lead, with nobody to hand it to, did not tell
/// those who wait for room. Fix: it does, and they lead for themselves.
fn who_waits_for_room_leads_when_nobody_does(queue: bool) {
    let bench = Bench::new(queue);
    let mut seen = Seen::default();
    let recovered = recover(&env(&bench.sim), START, true, &mut seen).unwrap();
    let clock = Arc::new(Gate::default());
    let (used, queue) = (Arc::<Gate>::clone(&clock), bench.sim.write_queue(4).ok());
    let options = options(SyncPolicy::Never);
    let wal = recovered
        .start(env(&bench.sim), options, used, queue)
        .unwrap();
    let (told, hears) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        clock.set(true);
        scope.spawn(|| commit(&wal, 0).unwrap());
        // Its group has departed, and it stands before the clock.
        while wal.pending.load(Ordering::SeqCst) > 0
            || wal.counters.groups.load(Ordering::SeqCst) == 0
        {
            std::thread::yield_now();
        }
        while wal.pending.load(Ordering::SeqCst) < 4 * 4096 {
            drop(wal.enqueue(&[trim(1)], Ask::default()).unwrap());
        }
        scope.spawn(|| told.send(wal.admit(true)).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        clock.set(false);
        let admitted = hears.recv_timeout(Duration::from_secs(10));
        if admitted.is_err() {
            // So that the test ends.
            wal.commit_step();
        }
        assert!(matches!(admitted, Ok(Ok(()))), "{admitted:?}");
    });
}

fn a_waker_that_panics_harms_nobody_else(queue: bool) {
    struct Broken;
    impl std::task::Wake for Broken {
        fn wake(self: Arc<Self>) {
            panic!("a waker that broke");
        }
    }
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    let handle = wal.enqueue(&[trim(1)], durable()).unwrap();
    let waker = std::task::Waker::from(Arc::new(Broken));
    assert!(handle.poll(&wal, &waker).is_none());
    commit(&wal, 2).unwrap();
    assert!(matches!(handle.poll(&wal, &waker), Some(Ok(()))));
}

fn commits_that_wait_together_share_one_sync_and_come_back_in_order(queue: bool) {
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    let before = bench.sim.counts().syncs();
    let handles: Vec<_> = (0..50)
        .map(|n| wal.enqueue(&[trim(n)], durable()).unwrap())
        .collect();
    for handle in &handles {
        handle.wait(&wal).unwrap();
        assert!(wal.durable() >= handle.end());
    }
    assert_eq!(bench.sim.counts().syncs() - before, 1);
    let image = bench.sim.crash(Crash::NothingUnsynced);
    let (_, seen) = open(&image, SyncPolicy::Never, &bench.clock).unwrap();
    assert_eq!(seen, (0..50).collect::<Vec<_>>());
}

fn sixteen_threads_lose_no_wake_up_and_keep_their_order(queue: bool) {
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    std::thread::scope(|scope| {
        for thread in 0..16_u64 {
            let wal = &wal;
            scope.spawn(move || {
                for n in 0..100 {
                    commit(wal, thread * 1000 + n).unwrap();
                }
            });
        }
    });
    let image = bench.sim.crash(Crash::NothingUnsynced);
    let (_, seen) = open(&image, SyncPolicy::Never, &bench.clock).unwrap();
    assert_eq!(seen.len(), 1600);
    for thread in 0..16 {
        let mine: Vec<_> = seen.iter().filter(|n| *n / 1000 == thread).collect();
        assert!(mine.is_sorted() && mine.len() == 100, "thread {thread}");
    }
}

fn a_wait_that_times_out_can_be_taken_up_again(queue: bool) {
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    let handle = wal.enqueue(&[trim(1)], durable()).unwrap();
    // Nobody else writes, so the waiting thread does, whatever its patience.
    let done = handle.wait_timeout(&wal, Duration::ZERO);
    assert!(matches!(done, Some(Ok(()))), "{done:?}");
}

fn observers_hear_of_a_commit_once_it_is_durable(queue: bool) {
    struct Count(AtomicU64);
    impl Observer for Count {
        fn committed(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    let count = Arc::new(Count(AtomicU64::new(0)));
    let ask = Ask {
        observers: vec![Arc::<Count>::clone(&count)],
        ..durable()
    };
    let handle = wal.enqueue(&[trim(1)], ask).unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 0);
    handle.wait(&wal).unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
}

fn buffered_commits_are_synced_by_policy(queue: bool) {
    for (policy, syncs) in [
        (SyncPolicy::Never, [0, 0]),
        (SyncPolicy::Always, [1, 1]),
        (SyncPolicy::Interval(Duration::from_millis(10)), [0, 1]),
    ] {
        let bench = Bench::new(queue);
        let (wal, _) = bench.open(policy);
        let before = bench.sim.counts().syncs();
        wal.enqueue(&[trim(1)], Ask::default()).unwrap();
        wal.commit_step();
        assert_eq!(
            bench.sim.counts().syncs() - before,
            syncs[0],
            "{policy:?} at once"
        );
        bench.clock.advance(Duration::from_millis(10));
        wal.commit_step();
        assert_eq!(
            bench.sim.counts().syncs() - before,
            syncs[1],
            "{policy:?} later"
        );
    }
}

fn sync_covers_what_was_only_written(queue: bool) {
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    wal.enqueue(&[trim(1)], Ask::default()).unwrap();
    wal.commit_step();
    wal.enqueue(&[trim(2)], Ask::default()).unwrap();
    wal.sync().unwrap();
    let image = bench.sim.crash(Crash::NothingUnsynced);
    let (_, seen) = open(&image, SyncPolicy::Never, &bench.clock).unwrap();
    assert_eq!(seen, [1, 2]);
}

fn files_are_used_in_turn_and_used_again(queue: bool) {
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    let mut expected = Vec::new();
    for n in 0..100 {
        commit(&wal, n).unwrap();
        expected.push(n);
    }
    // 100 groups of a block are several files of 15 blocks.
    let files = bench.sim.list_files().len();
    assert!(files > 6, "{files} files");
    let (cut, _) = wal.cut();
    wal.release(cut).unwrap();
    let kept = bench.sim.list_files();
    assert!(kept.len() <= 3, "the active file and two spares: {kept:?}");
    for n in 100..200 {
        commit(&wal, n).unwrap();
    }
}

fn stale_frames_of_a_file_that_is_used_again_never_come_back(queue: bool) {
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    for n in 0..60 {
        commit(&wal, n).unwrap();
    }
    let (cut, sequence) = wal.cut();
    wal.release(cut).unwrap();
    // Into recycled files, whose old frames are whole and valid in themselves.
    for n in 1000..1020 {
        commit(&wal, n).unwrap();
    }
    let image = bench.sim.crash(Crash::NothingUnsynced);
    let mut seen = Seen::default();
    let from = From {
        lsn: cut,
        sequence,
        evidence: cut,
        keep: cut,
    };
    recover(&env(&image), from, true, &mut seen).unwrap();
    assert_eq!(seen.0, (1000..1020).collect::<Vec<_>>());
}

fn a_failed_sync_poisons_for_good_and_is_not_tried_again(queue: bool) {
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    commit(&wal, 1).unwrap();
    bench.sim.fail(FaultRule::new(OpKind::Sync, FaultRule::EIO));
    let syncs = bench.sim.counts().syncs();
    assert_eq!(commit(&wal, 2).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(commit(&wal, 3).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(wal.sync().unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(bench.sim.counts().syncs() <= syncs + 1, "no second sync");
    let image = bench.sim.crash(Crash::NothingUnsynced);
    let (_, seen) = open(&image, SyncPolicy::Never, &bench.clock).unwrap();
    assert!(seen.starts_with(&[1]), "{seen:?}");
}

fn a_full_disk_at_a_roll_refuses_the_commit_and_goes_on_later(queue: bool) {
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    bench.sim.set_capacity(Some(bench.sim.used_bytes()));
    let mut done = 0;
    let error = loop {
        match commit(&wal, done) {
            Ok(()) => done += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    bench.sim.set_capacity(None);
    commit(&wal, done).unwrap();
    let image = bench.sim.crash(Crash::NothingUnsynced);
    let (_, seen) = open(&image, SyncPolicy::Never, &bench.clock).unwrap();
    assert_eq!(seen, (0..=done).collect::<Vec<_>>());
}

fn damage_below_what_a_later_frame_calls_durable_is_no_torn_tail(queue: bool) {
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    for n in 0..6 {
        commit(&wal, n).unwrap();
    }
    let sequence = wal.cut().1;
    drop(wal);
    let path = format!("/wal/{}", name(sequence));
    let image = bench.sim.crash(Crash::AllUnsynced);
    let before = image.read_file(&path);
    image.flip_bit(&path, 3 * 4096 + 40, 0);
    let error = open(&image, SyncPolicy::Never, &bench.clock).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let text = error.to_string();
    assert!(
        text.contains("byte 12288") && text.contains("LSNs 8192.."),
        "{text}"
    );
    let changed = before
        .iter()
        .zip(image.read_file(&path))
        .filter(|(a, b)| **a != *b);
    assert_eq!(changed.count(), 1, "recovery changed nothing");
}

fn damage_of_the_last_group_alone_is_cut_as_torn(queue: bool) {
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    for n in 0..3 {
        commit(&wal, n).unwrap();
    }
    let sequence = wal.cut().1;
    drop(wal);
    let image = bench.sim.crash(Crash::AllUnsynced);
    image.flip_bit(format!("/wal/{}", name(sequence)), 3 * 4096 + 40, 0);
    let mut seen = Seen::default();
    let recovered = recover(&env(&image), START, true, &mut seen).unwrap();
    assert_eq!(seen.0, [0, 1]);
    let torn = recovered.torn.expect("it is reported");
    assert_eq!(torn.position, 3 * 4096);
}

fn what_only_the_cache_held_survives_a_power_cut_after_recovery(queue: bool) {
    // Killed between a write and its sync: the next life reads the frame from
    // the cache and shows it. It must be durable before that.
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    commit(&wal, 1).unwrap();
    wal.enqueue(&[trim(2)], Ask::default()).unwrap();
    wal.commit_step();
    drop(wal);
    let killed = bench.sim.fork();
    let (wal, seen) = open(&killed, SyncPolicy::Never, &bench.clock).unwrap();
    assert_eq!(seen, [1, 2]);
    drop(wal);
    let image = killed.crash(Crash::NothingUnsynced);
    let (_, seen) = open(&image, SyncPolicy::Never, &bench.clock).unwrap();
    assert_eq!(seen, [1, 2]);
}

fn a_closed_log_opens_clean_and_goes_on(queue: bool) {
    let bench = Bench::new(queue);
    let mut expected = Vec::new();
    for life in 0..5 {
        let (wal, seen) = bench.open(SyncPolicy::Never);
        assert_eq!(seen, expected, "life {life}");
        commit(&wal, life).unwrap();
        expected.push(life);
        wal.close().unwrap();
        assert_eq!(commit(&wal, 99).unwrap_err().kind(), ErrorKind::Closed);
    }
    let mut seen = Seen::default();
    assert!(
        recover(&env(&bench.sim), START, false, &mut seen)
            .unwrap()
            .clean
    );
}

fn a_missing_file_is_damage_not_an_end(queue: bool) {
    let bench = Bench::new(queue);
    let (wal, _) = bench.open(SyncPolicy::Never);
    for n in 0..40 {
        commit(&wal, n).unwrap();
    }
    drop(wal);
    let image = bench.sim.crash(Crash::AllUnsynced);
    image.remove(format!("/wal/{}", name(3)));
    let error = open(&image, SyncPolicy::Never, &bench.clock).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&name(3)), "{error}");
}

fn a_power_cut_at_every_step_keeps_what_was_acknowledged(queue: bool) {
    let workload = |sim: &SimFs, clock: &Arc<ManualClock>, acked: &mut Vec<u64>| -> Result<()> {
        let (wal, seen) = open(sim, SyncPolicy::Never, clock)?;
        let first = seen.last().map_or(0, |n| n + 1);
        for n in first..first + 20 {
            commit(&wal, n)?;
            acked.push(n);
        }
        Ok(())
    };
    let fresh = Bench::new(queue);
    let steps = {
        let sim = fresh.sim.fork();
        workload(&sim, &fresh.clock, &mut Vec::new()).unwrap();
        sim.steps()
    };
    let mut images = 0;
    for step in 1..=steps {
        let sim = fresh.sim.fork();
        let mut acked = Vec::new();
        sim.cut_power_at(step);
        workload(&sim, &fresh.clock, &mut acked).unwrap_err();
        for (choice, image) in sim.crash_images(6, 8, step) {
            let at = format!("step {step}, {choice:?}");
            let (_, seen) = open(&image, SyncPolicy::Never, &fresh.clock)
                .unwrap_or_else(|error| panic!("{at}: {error}"));
            assert!(seen.starts_with(&acked), "{at}: {acked:?} became {seen:?}");
            assert!(
                seen.len() <= acked.len() + 1,
                "{at}: {seen:?} was never asked for"
            );
            images += 1;
        }
    }
    assert!(images > 100, "{images} images");
}
