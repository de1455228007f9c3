//! Power cuts at every step of many runs, and during the recoveries after
//! them.
//!
//! Each workload runs once to count its steps. Then, for every step, it runs
//! again on a fresh disk whose power goes at that step; every disk that the cut
//! may leave (all subsets of what was pending if that is little, else none,
//! all and samples) is opened and held against the model, and must go on
//! working. For a sample of them the power goes again, at every step of the
//! recovery, and once more in the recovery from that.
//!
//! A state that fails panics with its [`Place`]: copy it into [`REPLAY`] and
//! run `cargo test --features sim --test it replay -- --ignored --nocapture`.

use std::fmt;
use std::sync::Arc;

use duolog::clock::{Clock, ManualClock};
use duolog::io::sim::{Crash, SimFs};
use duolog::{Codec, Durability};

use crate::model::Model;
use crate::world::{Append, EPOCH_MS, Op, Setup, World, small};

mod workloads;

use workloads::{WORKLOADS, Workload};

/// How thorough a search is.
#[derive(Clone, Copy)]
struct Effort {
    /// All subsets of up to so many pending units are tried.
    subsets_up_to: u32,
    /// Of more units, so many samples, and none and all.
    samples: u32,
    /// One state in so many is cut again in its recovery.
    nest_every: u64,
    /// One step in so many of those is the place of a third cut.
    nest_again_every: u64,
    /// Seeds of crash samples start here.
    seed: u64,
}

/// What every change runs: about two minutes on two cores.
const EFFORT: Effort = Effort {
    subsets_up_to: 7,
    samples: 24,
    nest_every: 1511,
    nest_again_every: 17,
    seed: 1,
};

/// The state that [`replay`] repeats.
const REPLAY: Place = Place {
    workload: "durable",
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

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    steps: u64,
    states: u64,
    nested: u64,
}

/// Runs until the end or until the power goes.
fn run(workload: &Workload, setup: Setup, cut_at: Option<u64>, place: &Place<'_>) -> World {
    let mut world = World::new(setup);
    if let Some(step) = cut_at {
        world.cut_power_at(step);
    }
    for (n, op) in (workload.ops)().iter().enumerate() {
        let result = world.run(op, place);
        if world.disk.is_off() {
            break;
        }
        if let Err(error) = result {
            panic!("{place}: operation {n}, {op:?}: {error:?}");
        }
    }
    world
}

/// What a store must still do: take a record, show it, and survive a restart.
/// Ends early if the power goes.
fn go_on(world: &mut World, reopen: bool, place: &Place<'_>) {
    let mut ops = Vec::new();
    let check = |world: &mut World, op: Option<&Op>| {
        let result = match op {
            None => world.ensure_open(place).map(|_| ()),
            Some(op) => world.run(op, place),
        };
        let off = world.disk.is_off();
        if let (Err(error), false) = (&result, off) {
            panic!("{place}: after the cut, {op:?}: {error:?}");
        }
        if let (Some(engine), false) = (&world.engine, off) {
            world.model.check_live(engine, place);
        }
        !off
    };
    if !check(world, None) {
        return;
    }
    let topic = ["t", "u", "v"]
        .into_iter()
        .find(|name| world.model.topics.contains_key(*name));
    if topic.is_none() {
        ops.push(Op::Create("t", small()));
    }
    ops.push(Op::Append(Append {
        topic: topic.unwrap_or("t"),
        partition: Some(0),
        sizes: vec![10, 300],
        keyed: true,
        durability: Durability::Durable,
        codec: Codec::None,
    }));
    if reopen {
        ops.extend([Op::Checkpoint, Op::Reopen]);
    }
    for op in &ops {
        if !check(world, Some(op)) {
            return;
        }
    }
}

/// Opens a disk that a cut left and holds it against the model.
fn verify(setup: Setup, image: SimFs, world: &World, reopen: bool, place: &Place<'_>) -> u64 {
    let mut after = resume(setup, image, world);
    go_on(&mut after, reopen, place);
    after.steps()
}

fn resume(setup: Setup, image: SimFs, world: &World) -> World {
    let clock = Arc::new(ManualClock::new(world.clock.now().millis().max(EPOCH_MS)));
    let model: Model = world.model.clone();
    World::resume(setup, image, clock, model)
}

/// Cuts the power again, at every step of the recovery of `image` and of what
/// comes after it.
fn nest(
    setup: Setup,
    image: &SimFs,
    world: &World,
    effort: Effort,
    place: &Place<'_>,
    depth: u32,
) -> u64 {
    let steps = verify(setup, image.fork(), world, true, place);
    let every = if depth > 1 {
        1
    } else {
        effort.nest_again_every
    };
    let mut states = 0;
    for step in (1..=steps).filter(|step| step % every == 0) {
        let mut again = resume(setup, image.fork(), world);
        again.cut_power_at(step);
        go_on(&mut again, true, place);
        again.engine = None;
        for (choice, left) in again.disk.crash_images(2, 3, effort.seed ^ step) {
            let cuts = [place.cuts, &[(step, choice)]].concat();
            let place = Place {
                cuts: &cuts,
                ..*place
            };
            states += 1;
            if depth > 1 && (step + states) % effort.nest_again_every == 0 {
                states += nest(setup, &left, &again, effort, &place, depth - 1);
            } else {
                verify(setup, left, &again, states % 5 == 0, &place);
            }
        }
    }
    states
}

fn explore(workload: &Workload, unit_len: usize, queue: bool, effort: Effort) -> Totals {
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
    let engine = whole.engine.as_ref().expect("the run ends with it open");
    whole.model.check_live(engine, &place);
    let mut totals = Totals {
        steps: whole.steps(),
        ..Totals::default()
    };
    drop(whole);
    for step in 1..=totals.steps {
        let mut world = run(workload, setup, Some(step), &place);
        world.engine = None;
        let images =
            world
                .disk
                .crash_images(effort.subsets_up_to, effort.samples, effort.seed ^ step);
        for (choice, image) in images {
            let cuts = [(step, choice)];
            let place = Place {
                cuts: &cuts,
                ..place
            };
            totals.states += 1;
            if totals.states.is_multiple_of(effort.nest_every) {
                totals.nested += nest(setup, &image, &world, effort, &place, 2);
            } else {
                verify(
                    setup,
                    image,
                    &world,
                    totals.states.is_multiple_of(7),
                    &place,
                );
            }
        }
    }
    totals
}

fn survives(name: &str, effort: Effort) {
    let workload = find(name);
    for (unit_len, queue) in [(4096, false), (512, false), (4096, true), (512, true)] {
        let totals = explore(workload, unit_len, queue, effort);
        let flights = if queue { "several" } else { "one" };
        println!(
            "{name}, units of {unit_len} bytes, {flights} in flight: {} steps, {} states, \
             {} nested",
            totals.steps, totals.states, totals.nested
        );
    }
}

fn find(name: &str) -> &'static Workload {
    let mut all = WORKLOADS.iter();
    all.find(|workload| workload.name == name)
        .expect("a workload of this name")
}

macro_rules! cut {
    ($($test:ident $name:literal),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                survives($name, EFFORT);
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
    durable_appends_survive_power_cuts "durable",
    tickets_survive_power_cuts "tickets",
    buffered_appends_survive_power_cuts "buffered",
    synced_always_survives_power_cuts "always",
    transient_records_stay_transient_through_power_cuts "transient",
    batches_over_partitions_survive_power_cuts_whole "partitions",
    rolling_segments_and_logs_survives_power_cuts "roll",
    retention_and_trims_survive_power_cuts "retention",
    segments_sealed_and_removed_at_once_survive_power_cuts "seal",
    changes_of_topics_survive_power_cuts "topics",
    restarts_survive_power_cuts "restarts",
    compressed_batches_survive_power_cuts "lz4",
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
    let Some((step, choice)) = cuts.next() else {
        run(workload, setup, None, &REPLAY);
        return;
    };
    let mut world = run(workload, setup, Some(*step), &REPLAY);
    println!("the last steps of the run:");
    let mut choice = *choice;
    loop {
        let trace = world.disk.trace();
        trace
            .iter()
            .rev()
            .take(20)
            .rev()
            .for_each(|line| println!("  {line}"));
        println!("pending: {:#?}", world.disk.pending());
        println!("kept of that: {choice:?}; doubts: {:?}", world.model.doubts);
        world.engine = None;
        let image = world.disk.crash(choice);
        println!("files: {:#?}", image.list_files());
        let mut after = resume(setup, image, &world);
        let Some((step, next)) = cuts.next() else {
            go_on(&mut after, true, &REPLAY);
            return;
        };
        after.cut_power_at(*step);
        go_on(&mut after, true, &REPLAY);
        choice = *next;
        world = after;
    }
}

#[test]
#[ignore = "soak: an hour of other seeds and finer searches"]
fn soak_of_power_cuts() {
    for seed in 2..12 {
        let effort = Effort {
            subsets_up_to: 12,
            samples: 100,
            nest_every: 31,
            nest_again_every: 3,
            seed,
        };
        for workload in WORKLOADS {
            survives(workload.name, effort);
        }
    }
}
