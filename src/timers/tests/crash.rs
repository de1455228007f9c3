//! Power cuts at every step: whatever was saved opens, and lacks nothing.

use super::*;

/// A snapshot: what it has of the timers, and which were pending by then.
struct Snapshot {
    saved: Saved,
    pending: BTreeSet<Timer>,
}

/// A broker that makes snapshots, which are durable as soon as they are kept.
struct Broker {
    env: TimersEnv,
    timers: Timers,
    pending: BTreeSet<Timer>,
    /// The newest two.
    kept: Vec<Snapshot>,
}

impl Broker {
    fn new(disk: &SimFs, runs: u64) -> Self {
        let (timers, all) = with_runs(disk, runs);
        let mut broker = Self {
            env: env(disk),
            timers,
            pending: all.into_iter().collect(),
            kept: Vec::new(),
        };
        broker.save().unwrap();
        broker
    }

    /// The same on another disk, from its newest snapshot.
    fn reopen(&self, disk: &SimFs) -> Self {
        let newest = self.kept.last().unwrap();
        let env = env(disk);
        Self {
            timers: Timers::open(env.clone(), &newest.saved.state).unwrap(),
            env,
            pending: newest.pending.clone(),
            kept: vec![Snapshot {
                saved: Saved {
                    turn: Turn::default(),
                    state: newest.saved.state.clone(),
                },
                pending: newest.pending.clone(),
            }],
        }
    }

    fn add(&mut self, from: u64, count: u64) {
        let more = burst(from, count);
        add(&mut self.timers, &more);
        self.pending.extend(more);
    }

    fn take(&mut self, max: usize) -> Result<()> {
        let mut out = Vec::new();
        let taken = self.timers.take_due(at(99), max, &mut out);
        for timer in out {
            self.pending.remove(&timer);
        }
        taken
    }

    fn save(&mut self) -> Result<()> {
        let saved = self.timers.save();
        let pending = self.pending.clone();
        self.kept.push(Snapshot { saved, pending });
        if self.kept.len() > 2 {
            self.kept.remove(0);
        }
        let dead = self.timers.retire(self.kept[0].saved.turn);
        self.env.remove(&dead)
    }

    /// A spill, a merge and what goes with them, some of it at the same time.
    fn work(&mut self) -> Result<()> {
        self.add(1_000_000, 2 * BURST);
        let mut spill = self.timers.begin_spill().unwrap();
        self.take(3_000)?;
        let spilled = spill.run();
        self.timers.finish(spill)?;
        spilled?;
        self.save()?;
        let mut merge = self.timers.begin_merge().unwrap();
        merge.step()?;
        self.save()?;
        self.take(5_000)?;
        let merged = merge.run();
        self.timers.finish(merge)?;
        merged?;
        self.save()?;
        self.add(2_000_000, 2 * BURST);
        self.take(1_000)?;
        self.timers.spill()?;
        self.save()?;
        self.save()
    }
}

#[track_caller]
fn opens_with_all(image: &SimFs, snapshot: &Snapshot, place: &str) {
    let opened = Timers::open(env(image), &snapshot.saved.state);
    let mut timers = opened.unwrap_or_else(|error| panic!("{place}: {error}"));
    let found = take(&mut timers, 99, usize::MAX);
    assert_eq!(found.len(), snapshot.pending.len(), "{place}");
    assert!(found.iter().eq(&snapshot.pending), "{place}");
}

#[test]
fn a_power_cut_at_every_step_loses_no_timer_of_a_kept_snapshot() {
    let base = SimFs::new(1);
    let prepared = Broker::new(&base, 8);
    let whole = base.fork();
    let mut broker = prepared.reopen(&whole);
    broker.work().unwrap();
    assert_eq!(broker.timers.save().state.runs.len(), 2);
    let runs = files(&whole).len();
    assert!(runs < 5, "the merged ones were removed: {runs} are left");
    let steps = whole.steps();
    assert!(steps >= 25, "{steps} steps");
    for step in 1..=steps {
        let disk = base.fork();
        let mut broker = prepared.reopen(&disk);
        disk.cut_power_at(step);
        broker.work().unwrap_err();
        for (choice, image) in disk.crash_images(3, 3, step) {
            for snapshot in &broker.kept {
                opens_with_all(&image, snapshot, &format!("step {step}, {choice:?}"));
            }
        }
    }
}

#[test]
fn what_was_cut_short_can_be_done_after_the_crash_and_leaves_no_file() {
    let base = SimFs::new(1);
    let prepared = Broker::new(&base, 8);
    let whole = base.fork();
    prepared.reopen(&whole).work().unwrap();
    for step in (1..=whole.steps()).step_by(3) {
        let disk = base.fork();
        let mut broker = prepared.reopen(&disk);
        disk.cut_power_at(step);
        broker.work().unwrap_err();
        let image = disk.crash(Crash::AllUnsynced);
        let mut again = broker.reopen(&image);
        while again.timers.merge().unwrap() {}
        again.save().unwrap();
        again.save().unwrap();
        again.save().unwrap();
        let listed = again.kept[1].saved.state.runs.iter();
        let listed: Vec<String> = listed.map(|run| run_name(run.number)).collect();
        assert_eq!(files(&image), listed, "step {step}");
        opens_with_all(&image, &again.kept[1], &format!("step {step}"));
    }
}
