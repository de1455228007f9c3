//! Power cuts at every step of runs with queues, and during the recoveries
//! after them.
//!
//! As `crate::power_cut` does it for topics. After each cut every message has
//! to be in one of the places that the model allows; then all of them are
//! received, each exactly once, and none before it is due.
//!
//! A state that fails panics with its [`Place`]: copy it into [`REPLAY`] and run
//! `cargo test --features sim --test it queues::power_cut::replay -- --ignored
//! --nocapture`.

use std::fmt;

use duolog::io::sim::{Crash, SimFs};

use super::workloads::{WORKLOADS, Workload};
use super::world::World;
use crate::world::Setup;

/// How thorough a search is.
#[derive(Clone, Copy)]
struct Effort {
    /// All subsets of up to so many pending units are tried.
    subsets_up_to: u32,
    /// Of more units, so many samples, and none and all.
    samples: u32,
    /// One step in so many is the place of a cut.
    step_every: u64,
    /// One state in so many is cut again in its recovery.
    nest_every: u64,
    /// Seeds of crash samples start here.
    seed: u64,
}

/// What every change runs.
const EFFORT: Effort = Effort {
    subsets_up_to: 4,
    samples: 10,
    step_every: 1,
    nest_every: 499,
    seed: 1,
};

/// Thousands of messages make each state slow.
const LARGE: Effort = Effort {
    subsets_up_to: 2,
    samples: 2,
    step_every: 5,
    nest_every: u64::MAX,
    seed: 1,
};

/// The state that [`replay`] repeats.
const REPLAY: Place = Place {
    workload: "acks",
    unit_len: 4096,
    queue: true,
    cuts: &[],
};

/// Where the power was cut, and what of the pending changes was kept: enough
/// to repeat it.
struct Place<'a> {
    workload: &'a str,
    unit_len: usize,
    queue: bool,
    /// The cut of the run, then those of the recoveries.
    cuts: &'a [(u64, Crash)],
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Place {{ workload: {:?}, unit_len: {}, queue: {}, cuts: &[",
            self.workload, self.unit_len, self.queue
        )?;
        for (step, choice) in self.cuts {
            write!(f, "({step}, Crash::{choice:?}), ")?;
        }
        write!(f, "] }}")
    }
}

/// Runs until the end or until the power goes.
fn run(workload: &Workload, setup: Setup, cut_at: Option<u64>, place: &Place<'_>) -> World {
    let mut world = World::new(setup, workload.large);
    if let Some(step) = cut_at {
        world.cut_power_at(step);
    }
    for (n, op) in (workload.ops)().iter().enumerate() {
        let at = format!("{place}: operation {n}");
        let result = world.run(op, &at);
        if world.disk.is_off() {
            break;
        }
        if let Err(error) = result {
            panic!("{at}, {op:?}: {error:?}");
        }
        if cut_at.is_none() {
            world.check_live(&at);
        }
    }
    world
}

/// Opens a disk that a cut left, holds it against the model and empties it.
fn verify(world: &World, image: SimFs, thorough: bool, place: &Place<'_>) -> World {
    let mut after = world.resume(image);
    go_on(&mut after, thorough, place);
    after
}

fn go_on(world: &mut World, thorough: bool, place: &Place<'_>) {
    if let (Err(error), false) = (world.go_on(thorough, place), world.disk.is_off()) {
        panic!("{place}: after the cut: {error:?}");
    }
}

/// Cuts the power again, at every step of the recovery of `image` and of what
/// comes after it.
fn nest(world: &World, image: &SimFs, effort: Effort, place: &Place<'_>) -> u64 {
    let steps = verify(world, image.fork(), true, place).steps();
    let mut states = 0;
    for step in 1..=steps {
        let mut again = world.resume(image.fork());
        again.cut_power_at(step);
        go_on(&mut again, true, place);
        again.abandon();
        for (choice, left) in again.disk.crash_images(1, 2, effort.seed ^ step) {
            let cuts = [place.cuts, &[(step, choice)]].concat();
            let place = Place {
                cuts: &cuts,
                ..*place
            };
            states += 1;
            verify(&again, left, states % 5 == 0, &place);
        }
    }
    states
}

fn explore(workload: &Workload, unit_len: usize, queue: bool, effort: Effort) -> [u64; 3] {
    let setup = Setup {
        unit_len,
        queue,
        seed: effort.seed,
        ..workload.setup
    };
    let place = Place {
        workload: workload.name,
        unit_len,
        queue,
        cuts: &[],
    };
    let whole = run(workload, setup, None, &place);
    let [steps, mut states, mut nested] = [whole.steps(), 0, 0];
    drop(whole);
    for step in (1..=steps).filter(|step| step.is_multiple_of(effort.step_every)) {
        let mut world = run(workload, setup, Some(step), &place);
        world.abandon();
        let (subsets, samples) = (effort.subsets_up_to, effort.samples);
        let images = world
            .disk
            .crash_images(subsets, samples, effort.seed ^ step);
        for (choice, image) in images {
            let cuts = [(step, choice)];
            let place = Place {
                cuts: &cuts,
                ..place
            };
            states += 1;
            if states % effort.nest_every == 0 {
                nested += nest(&world, &image, effort, &place);
            } else {
                verify(&world, image, states % 7 == 0, &place);
            }
        }
    }
    [steps, states, nested]
}

fn survives(name: &str, effort: Effort) {
    let workload = find(name);
    for (unit_len, queue) in [(4096, false), (512, false), (4096, true), (512, true)] {
        let [steps, states, nested] = explore(workload, unit_len, queue, effort);
        let flights = if queue { "several" } else { "one" };
        println!(
            "{name}, units of {unit_len} bytes, {flights} in flight: {steps} steps, {states} \
             states, {nested} nested"
        );
    }
}

fn find(name: &str) -> &'static Workload {
    let mut all = WORKLOADS.iter();
    all.find(|workload| workload.name == name)
        .expect("a workload of this name")
}

macro_rules! cut {
    ($($test:ident $name:literal $effort:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                survives($name, $effort);
            }
        )*

        #[test]
        fn every_workload_is_cut() {
            let cut = [$($name),*];
            let all: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
            assert_eq!(all, cut);
        }
    };
}

cut! {
    what_was_acknowledged_stays_done_through_power_cuts "acks" EFFORT,
    messages_and_acks_of_each_level_keep_their_promise_through_power_cuts "levels" EFFORT,
    failures_and_delays_survive_power_cuts "nacks" EFFORT,
    dead_letters_are_in_one_queue_through_power_cuts "dead letters" EFFORT,
    messages_expire_once_through_power_cuts "expiry" EFFORT,
    checkpoints_of_queues_survive_power_cuts "checkpoints" EFFORT,
    moved_messages_are_in_one_queue_through_power_cuts "moves" EFFORT,
    changes_of_queues_survive_power_cuts "catalog" EFFORT,
    subscriptions_survive_power_cuts "views" EFFORT,
    restarts_of_queues_survive_power_cuts "restarts" EFFORT,
    transactions_survive_power_cuts_whole "transactions" EFFORT,
    deduplication_ids_survive_power_cuts "ids" EFFORT,
    runs_of_timers_survive_power_cuts "timers" LARGE,
}

#[test]
#[ignore = "replay: set REPLAY to the place that a failure printed"]
fn replay() {
    let workload = find(REPLAY.workload);
    let setup = Setup {
        unit_len: REPLAY.unit_len,
        queue: REPLAY.queue,
        seed: EFFORT.seed,
        ..workload.setup
    };
    let mut cuts = REPLAY.cuts.iter();
    let Some((step, mut choice)) = cuts.next().copied() else {
        run(workload, setup, None, &REPLAY);
        return;
    };
    let mut world = run(workload, setup, Some(step), &REPLAY);
    loop {
        let trace = world.disk.trace();
        let last = trace.len().saturating_sub(20);
        println!("the last steps: {:#?}", &trace[last..]);
        println!("pending: {:#?}", world.disk.pending());
        println!("kept of that: {choice:?}; doubts: {:?}", world.model.doubts);
        world.abandon();
        let image = world.disk.crash(choice);
        println!("files: {:#?}", image.list_files());
        let mut after = world.resume(image);
        let Some((step, next)) = cuts.next().copied() else {
            go_on(&mut after, true, &REPLAY);
            return;
        };
        after.cut_power_at(step);
        go_on(&mut after, true, &REPLAY);
        (world, choice) = (after, next);
    }
}

#[test]
#[ignore = "soak: an hour of other seeds and finer searches"]
fn soak_of_power_cuts() {
    for seed in 2..8 {
        let effort = Effort {
            subsets_up_to: 10,
            samples: 60,
            step_every: 1,
            nest_every: 31,
            seed,
        };
        for workload in WORKLOADS.iter().filter(|workload| !workload.large) {
            survives(workload.name, effort);
        }
        survives("timers", Effort { seed, ..LARGE });
    }
}
