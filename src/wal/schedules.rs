//! The commit path under a scheduler that chooses who goes on at each step.
//!
//! Built with `--cfg duolog_shuttle` only (`src/sync.rs`); `.ci/run` has the
//! command. Each scenario runs under many schedules, drawn evenly and by
//! priorities (PCT). What is looked for:
//!
//! * nobody waits for ever: the scheduler reports it when no thread can go on;
//! * what was acknowledged is on the disk: at each acknowledgement the disk is
//!   copied as a power cut would leave it, and the copy is recovered;
//! * observers are told in the order of the log;
//! * one thread at a time completes writes: the simulated queue asserts it.
//!
//! Atomics are sequentially consistent here, and time stands still: what a
//! weaker order or a timeout could break or mend is not seen. Schedules are a
//! function of a seed; `SHUTTLE_RANDOM_SEED` chooses another.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, thread};

use super::recover::{Recovered, recover};
use super::replayer::{START, Seen, durable, trim};
use super::{Ask, CommitHandle, FilesEnv, Observer, Wal, WalOptions};
use crate::clock::{Clock, ManualClock};
use crate::error::{ErrorKind, Result};
use crate::ids::StoreId;
use crate::io::FileSystem;
use crate::io::sim::{Crash, FaultRule, OpKind, SimFs};
use crate::options::SyncPolicy;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Schedules of each kind that a scenario runs under, on each back end.
const SCHEDULES: usize = 2_000;

/// Changes of priority in a schedule: a defect that needs no more orderings
/// than that is found with a probability that is known.
const DEPTH: usize = 4;

/// Frames of one commit fill a group, so that several groups fly.
const GROUP_BYTES_MAX: usize = 64;

/// Sixteen blocks: no scenario fills it, but for those that roll.
const ROOMY: u64 = 64 << 10;
/// A header and three groups.
const TIGHT: u64 = 16 << 10;

const SYNC_INTERVAL: Duration = Duration::from_millis(10);

/// No wait of these tests ends by time.
const FOREVER: Duration = Duration::from_secs(3600);

/// What happened. Behind a lock of the standard library, which is never held
/// where the scheduler may choose another thread.
#[derive(Debug, Default)]
struct Record {
    /// Numbers of commits that observers were told of.
    told: Vec<u64>,
    /// Durable commits whose waiter was told that all is well.
    acknowledged: Vec<u64>,
    /// Commits that were taken, durable or not.
    taken: Vec<u64>,
    /// Disks that a power cut would have left, and what must be on them.
    images: Vec<(SimFs, Vec<u64>)>,
}

struct Told {
    number: u64,
    record: Arc<Mutex<Record>>,
}

impl Observer for Told {
    fn committed(&self) {
        on(&self.record, |record| record.told.push(self.number));
    }
}

fn on<T>(record: &Mutex<Record>, look: impl FnOnce(&mut Record) -> T) -> T {
    look(&mut record.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The log under test, and what its threads saw.
struct World {
    sim: SimFs,
    file_bytes: u64,
    clock: Arc<ManualClock>,
    wal: Wal,
    record: Arc<Mutex<Record>>,
    stop: AtomicBool,
}

/// How many groups may be under way; none is a back end without a queue.
type Queue = Option<usize>;

impl World {
    fn new(queue: Queue, file_bytes: u64, sync_policy: SyncPolicy) -> Self {
        let sim = SimFs::new(thread_rng().r#gen()).with_queue(queue.is_some());
        let env = env(&sim, file_bytes);
        Wal::create(&env).unwrap();
        let recovered = recover(&env, START, true, &mut Seen::default()).unwrap();
        let clock = Arc::new(ManualClock::new(0));
        let options = WalOptions {
            sync_policy,
            group_bytes_max: GROUP_BYTES_MAX,
            commit_bytes_max: file_bytes / 4,
            spares_max: 2,
            in_flight_max: queue.unwrap_or(4),
        };
        let time: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let writes = sim.write_queue(4).ok();
        let wal = recovered.start(env, options, time, writes).unwrap();
        Self {
            sim,
            file_bytes,
            clock,
            wal,
            record: Arc::default(),
            stop: AtomicBool::new(false),
        }
    }

    fn enqueue(&self, number: u64, mut ask: Ask) -> Result<CommitHandle> {
        let record = Arc::clone(&self.record);
        ask.observers.push(Arc::new(Told { number, record }));
        self.wal.admit(true)?;
        let handle = self.wal.enqueue(&[trim(number)], ask)?;
        on(&self.record, |record| record.taken.push(number));
        Ok(handle)
    }

    /// A durable commit, as an append makes it.
    fn commit(&self, number: u64) -> Result<()> {
        let handle = self.enqueue(number, durable())?;
        self.judge(number, &handle, handle.wait(&self.wal))
    }

    /// Notes what a durable commit was told, and what the disk has by then.
    fn judge(&self, number: u64, handle: &CommitHandle, result: Result<()>) -> Result<()> {
        if let Err(error) = &result {
            assert_eq!(error.kind(), ErrorKind::Poisoned, "commit {number}");
            assert!(self.wal.poison().is_some(), "commit {number}");
            return result;
        }
        assert!(self.wal.durable() >= handle.end(), "commit {number}");
        let before = on(&self.record, |record| {
            record.acknowledged.push(number);
            record.acknowledged.clone()
        });
        self.keep_image(before);
        Ok(())
    }

    /// Keeps the disk as it is, which must have `numbers`.
    fn keep_image(&self, numbers: Vec<u64>) {
        let image = self.sim.crash(Crash::NothingUnsynced);
        on(&self.record, |record| record.images.push((image, numbers)));
    }

    /// What a checkpoint asks of the log.
    fn checkpoint(&self) -> Result<()> {
        let taken = on(&self.record, |record| record.taken.clone());
        let (cut, _) = self.wal.cut();
        self.wal.sync()?;
        self.keep_image(taken);
        assert!(
            self.wal.durable() >= cut,
            "a sync covers what was before it"
        );
        Ok(())
    }

    /// The loop of the thread `duolog-commit`.
    fn background(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            let seen = self.wal.work().seen();
            let did = self.wal.poison().is_none() && self.wal.commit_step();
            if !did && !self.stop.load(Ordering::SeqCst) {
                self.wal.work().wait(seen, FOREVER);
            }
        }
    }

    /// Runs `others` beside the background.
    fn beside_the_background(&self, others: impl FnOnce(&Self)) {
        thread::scope(|scope| {
            let background = scope.spawn(|| self.background());
            others(self);
            self.stop.store(true, Ordering::SeqCst);
            self.wal.work().notify();
            background.join().unwrap();
        });
    }

    fn recover(&self, image: &SimFs) -> (Recovered, Vec<u64>) {
        let mut seen = Seen::default();
        let env = env(image, self.file_bytes);
        let recovered = recover(&env, START, true, &mut seen).unwrap();
        (recovered, seen.0)
    }

    /// Holds what was told against the disks. The threads have ended.
    fn check(&self) -> Recovered {
        let record = on(&self.record, std::mem::take);
        for (image, before) in &record.images {
            let (_, seen) = self.recover(image);
            for number in before {
                assert!(seen.contains(number), "{number} was lost: {seen:?}");
            }
        }
        let (recovered, seen) = self.recover(&self.sim.crash(Crash::NothingUnsynced));
        let place = |number: &u64| seen.iter().position(|there| there == number);
        let places = record.told.iter().filter_map(place);
        // After a failure, those whose fate is not known are told at the end.
        if self.wal.poison().is_none() {
            assert!(places.is_sorted(), "{:?} of {seen:?}", record.told);
        }
        recovered
    }
}

fn env(sim: &SimFs, file_bytes: u64) -> FilesEnv {
    FilesEnv {
        dir: sim.open_root(Path::new("/wal"), true).unwrap(),
        store: StoreId::new([7; 16]),
        file_bytes,
        direct: true,
    }
}

fn detached() -> Ask {
    Ask {
        detached: true,
        ..durable()
    }
}

/// Runs `scenario` under schedules of both kinds.
fn explore(queue: Queue, scenario: fn(Queue)) {
    let config = || {
        let mut config = Config::new();
        // Recovery wants more than the default of 60 KiB.
        config.stack_size = 256 << 10;
        config.silence_warnings = true;
        config
    };
    let even = RandomScheduler::new_from_seed(1, SCHEDULES);
    Runner::new(even, config()).run(move || scenario(queue));
    let by_priority = PctScheduler::new_from_seed(1, DEPTH, SCHEDULES);
    Runner::new(by_priority, config()).run(move || scenario(queue));
}

macro_rules! explore_on_each_back_end {
    ($($name:ident,)*) => {
        mod one_at_a_time {
            $(#[test] fn $name() { super::explore(None, super::$name); })*
        }
        mod two_in_flight {
            $(#[test] fn $name() { super::explore(Some(2), super::$name); })*
        }
        mod four_in_flight {
            $(#[test] fn $name() { super::explore(Some(4), super::$name); })*
        }
    };
}

explore_on_each_back_end! {
    threads_that_commit_lead_and_hand_on,
    commits_beside_a_checkpoint_and_the_background,
    files_roll_in_the_middle,
    a_failure_reaches_everybody,
    a_close_beside_commits_is_clean,
    tickets_are_woken_by_the_background,
    a_wait_that_is_given_up_hands_the_lead_on,
    who_waits_for_room_leads_when_nobody_does,
    two_syncs_at_once_both_cover_what_was_written,
}

fn threads_that_commit_lead_and_hand_on(queue: Queue) {
    let world = World::new(queue, ROOMY, SyncPolicy::Never);
    thread::scope(|scope| {
        for thread in 0..3 {
            let world = &world;
            scope.spawn(move || {
                for n in 0..3 {
                    world.commit(thread * 10 + n).unwrap();
                }
            });
        }
    });
    world.check();
}

fn commits_beside_a_checkpoint_and_the_background(queue: Queue) {
    let policy = if thread_rng().gen_bool(0.5) {
        SyncPolicy::Never
    } else {
        SyncPolicy::Interval(SYNC_INTERVAL)
    };
    let world = World::new(queue, ROOMY, policy);
    world.beside_the_background(|world| {
        thread::scope(|scope| {
            for thread in 0..2 {
                scope.spawn(move || {
                    world.commit(thread * 10).unwrap();
                    // Nobody waits for a buffered one.
                    let ask = Ask {
                        sync: false,
                        ..detached()
                    };
                    world.enqueue(thread * 10 + 1, ask).unwrap();
                    world.commit(thread * 10 + 2).unwrap();
                });
            }
            scope.spawn(|| {
                world.checkpoint().unwrap();
                world.clock.advance(SYNC_INTERVAL);
                world.wal.commit_step();
                world.checkpoint().unwrap();
            });
        });
    });
    world.check();
}

fn files_roll_in_the_middle(queue: Queue) {
    let world = World::new(queue, TIGHT, SyncPolicy::Never);
    thread::scope(|scope| {
        for thread in 0..3 {
            let world = &world;
            scope.spawn(move || {
                for n in 0..2 {
                    let ask = Ask {
                        sync: n == 1 && thread == 0,
                        ..durable()
                    };
                    let handle = world.enqueue(thread * 10 + n, ask).unwrap();
                    handle.wait(&world.wal).unwrap();
                    world.commit(thread * 10 + n + 5).unwrap();
                }
            });
        }
        scope.spawn(|| {
            world.wal.prepare_step().unwrap();
            world.checkpoint().unwrap();
        });
    });
    assert!(world.wal.cut().1 > 2, "no file was begun");
    world.check();
}

fn a_failure_reaches_everybody(queue: Queue) {
    let world = World::new(queue, ROOMY, SyncPolicy::Never);
    let mut rng = thread_rng();
    let kind = [OpKind::Write, OpKind::Sync][rng.gen_range(0..2_usize)];
    let rule = FaultRule::new(kind, FaultRule::EIO).nth(rng.gen_range(1..8));
    let keep = rng.gen_range(0..=100);
    world.sim.fail(rule.path("/wal/").keep(keep));
    world.beside_the_background(|world| {
        thread::scope(|scope| {
            for thread in 0..3 {
                scope.spawn(move || {
                    for n in 0..3 {
                        let refused = world.wal.poison().is_some();
                        let result = world.commit(thread * 10 + n);
                        assert!(!refused || result.is_err(), "taken after the failure");
                    }
                });
            }
            scope.spawn(|| {
                let handle = world.enqueue(100, detached());
                let result = handle.and_then(|handle| {
                    let result = shuttle::future::block_on(ticket(&world.wal, &handle));
                    world.judge(100, &handle, result)
                });
                let refused = world.wal.poison().is_some();
                assert!(refused || result.is_ok(), "{result:?}");
                let synced = world.checkpoint();
                assert!(synced.is_ok() || world.wal.poison().is_some());
            });
        });
    });
    world.check();
}

fn a_close_beside_commits_is_clean(queue: Queue) {
    let world = World::new(queue, ROOMY, SyncPolicy::Never);
    world.beside_the_background(|world| {
        thread::scope(|scope| {
            for thread in 0..2 {
                scope.spawn(move || {
                    for n in 0..3 {
                        let Err(error) = world.commit(thread * 10 + n) else {
                            continue;
                        };
                        assert_eq!(error.kind(), ErrorKind::Closed);
                        return;
                    }
                });
            }
            scope.spawn(|| world.wal.close().unwrap());
        });
    });
    let recovered = world.check();
    assert!(
        recovered.clean,
        "something follows the mark, or it is missing"
    );
}

/// A ticket that is awaited, as `Ticket` polls it.
async fn ticket(wal: &Wal, handle: &CommitHandle) -> Result<()> {
    std::future::poll_fn(|context| match handle.poll(wal, context.waker()) {
        Some(result) => std::task::Poll::Ready(result),
        None => std::task::Poll::Pending,
    })
    .await
}

fn tickets_are_woken_by_the_background(queue: Queue) {
    let world = World::new(queue, ROOMY, SyncPolicy::Never);
    world.beside_the_background(|world| {
        thread::scope(|scope| {
            for thread in 0..2 {
                scope.spawn(move || {
                    let numbers = [thread * 10, thread * 10 + 1];
                    let handles = numbers.map(|n| world.enqueue(n, detached()).unwrap());
                    for (number, handle) in numbers.into_iter().zip(&handles) {
                        let result = shuttle::future::block_on(ticket(&world.wal, handle));
                        world.judge(number, handle, result).unwrap();
                    }
                });
            }
            // Waits by itself, and takes the lead from the background.
            scope.spawn(|| world.commit(100).unwrap());
        });
    });
    world.check();
}

fn a_wait_that_is_given_up_hands_the_lead_on(queue: Queue) {
    let world = World::new(queue, ROOMY, SyncPolicy::Never);
    thread::scope(|scope| {
        for thread in 0..3 {
            let world = &world;
            scope.spawn(move || {
                for n in 0..2 {
                    let number = thread * 10 + n;
                    let handle = world.enqueue(number, durable()).unwrap();
                    let at_once = handle.wait_timeout(&world.wal, Duration::ZERO);
                    // One gives up for good: the lead must not stay with it.
                    let again = || (thread > 0).then(|| handle.wait(&world.wal));
                    if let Some(result) = at_once.or_else(again) {
                        world.judge(number, &handle, result).unwrap();
                    }
                }
            });
        }
    });
    world.check();
}

fn who_waits_for_room_leads_when_nobody_does(queue: Queue) {
    let world = World::new(queue, ROOMY, SyncPolicy::Never);
    // No background: an embedder's steps may be due on a thread that waits.
    thread::scope(|scope| {
        for thread in 0..2 {
            let world = &world;
            scope.spawn(move || {
                for n in 0..6 {
                    world.enqueue(thread * 10 + n, detached()).unwrap();
                }
            });
        }
        scope.spawn(|| world.commit(100).unwrap());
    });
    world.checkpoint().unwrap();
    world.check();
}

fn two_syncs_at_once_both_cover_what_was_written(queue: Queue) {
    let world = World::new(queue, ROOMY, SyncPolicy::Never);
    thread::scope(|scope| {
        for thread in 0..2 {
            let world = &world;
            scope.spawn(move || {
                for n in 0..2 {
                    world.enqueue(thread * 10 + n, Ask::default()).unwrap();
                    world.wal.commit_step();
                    world.checkpoint().unwrap();
                }
            });
        }
    });
    world.check();
}
