//! Random calls against a sorted set.

use proptest::prelude::*;

use super::*;

/// What is done. Numbers are cut to what there is.
#[derive(Clone, Debug)]
enum Call {
    /// So many timers, due within so many milliseconds from that time on.
    Add(u64, i64, i64),
    /// At that time, so many.
    Take(i64, usize),
    BeginSpill,
    BeginMerge,
    /// A step of a rewrite under way: the spill, or the merge.
    Step(bool),
    /// Done with it, whether it is whole or not.
    Finish(bool),
    Spill,
    Merge,
    Save,
    /// A crash by this seed; from the newest snapshot, or the one before.
    Crash(u64, bool),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let count = prop_oneof![3 => 0..40_u64, 2 => BURST..BURST + 3_000];
    let spread = prop_oneof![1..5_i64, 1_000..100_000_i64];
    let max = prop_oneof![0..50_usize, 5_000..20_000_usize, Just(usize::MAX)];
    let call = prop_oneof![
        8 => (count, 0..50_000_i64, spread).prop_map(|(n, from, by)| Call::Add(n, from, by)),
        4 => (-10..60_000_i64, max).prop_map(|(now, max)| Call::Take(now, max)),
        2 => Just(Call::BeginSpill),
        2 => Just(Call::BeginMerge),
        3 => any::<bool>().prop_map(Call::Step),
        3 => any::<bool>().prop_map(Call::Finish),
        8 => Just(Call::Spill),
        2 => Just(Call::Merge),
        4 => Just(Call::Save),
        2 => (any::<u64>(), any::<bool>()).prop_map(|(seed, older)| Call::Crash(seed, older)),
    ];
    proptest::collection::vec(call, 1..60)
}

/// A snapshot that is kept, and what the log has after it.
struct Kept {
    saved: Saved,
    pending: BTreeSet<Timer>,
    added: Vec<Timer>,
}

struct World {
    disk: SimFs,
    timers: Timers,
    pending: BTreeSet<Timer>,
    kept: Vec<Kept>,
    spill: Option<Rewrite>,
    merge: Option<Rewrite>,
    next: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = SimFs::new(seed);
        let mut world = Self {
            timers: empty(&disk),
            disk,
            pending: BTreeSet::new(),
            kept: Vec::new(),
            spill: None,
            merge: None,
            next: 0,
        };
        world.save();
        world
    }

    fn call(&mut self, call: &Call) {
        match *call {
            Call::Add(count, from, spread) => self.add(count, from, spread),
            Call::Take(now, max) => {
                let due = self.pending.iter().take_while(|timer| timer.due <= at(now));
                let expected: Vec<Timer> = due.take(max).copied().collect();
                for timer in &expected {
                    self.pending.remove(timer);
                }
                assert_eq!(take(&mut self.timers, now, max), expected);
            }
            Call::BeginSpill => self.spill = self.timers.begin_spill(),
            Call::BeginMerge => self.merge = self.timers.begin_merge(),
            Call::Step(spill) => {
                if let Some(rewrite) = self.slot(spill) {
                    rewrite.step().unwrap();
                }
            }
            Call::Finish(spill) => {
                if let Some(rewrite) = self.slot(spill).take() {
                    self.timers.finish(rewrite).unwrap();
                }
            }
            Call::Spill => {
                self.timers.spill().unwrap();
                assert!(self.timers.in_memory() <= SPILL_MIN);
            }
            Call::Merge => {
                self.timers.merge().unwrap();
            }
            Call::Save => self.save(),
            Call::Crash(seed, older) => self.crash(seed, older),
        }
        assert_eq!(self.timers.len(), to_u64(self.pending.len()));
        let next = self.pending.first().map(|timer| timer.due);
        assert_eq!(self.timers.next_due(), next);
    }

    fn slot(&mut self, spill: bool) -> &mut Option<Rewrite> {
        if spill {
            &mut self.spill
        } else {
            &mut self.merge
        }
    }

    fn add(&mut self, count: u64, from: i64, spread: i64) {
        for _ in 0..count {
            let step = i64::try_from(self.next * 7_919 % 1_000_003).unwrap();
            let timer = timer(from + step % spread, self.next);
            self.next += 1;
            self.timers.add(timer);
            self.pending.insert(timer);
            for kept in &mut self.kept {
                kept.added.push(timer);
            }
        }
    }

    fn save(&mut self) {
        self.kept.push(Kept {
            saved: self.timers.save(),
            pending: self.pending.clone(),
            added: Vec::new(),
        });
        if self.kept.len() > 2 {
            self.kept.remove(0);
        }
        let dead = self.timers.retire(self.kept[0].saved.turn);
        env(&self.disk).remove(&dead).unwrap();
    }

    /// Opens what a power cut leaves; then the log is replayed.
    fn crash(&mut self, seed: u64, older: bool) {
        self.disk = self.disk.crash(Crash::Seeded(seed));
        if older && self.kept.len() > 1 {
            self.kept.pop();
        }
        (self.spill, self.merge) = (None, None);
        for kept in &mut self.kept {
            kept.saved.turn = Turn::default();
        }
        let kept = self.kept.last().unwrap();
        self.timers = Timers::open(env(&self.disk), &kept.saved.state).unwrap();
        add(&mut self.timers, &kept.added);
        self.pending.clone_from(&kept.pending);
        self.pending.extend(&kept.added);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::with_cases(48)
    })]

    #[test]
    fn timers_behave_like_a_sorted_set_through_crashes(
        calls in calls(),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(seed);
        for call in &calls {
            world.call(call);
        }
        world.call(&Call::Take(i64::MAX, usize::MAX));
    }
}
