//! Random segments against a list of batches, and power cuts at every step.

use proptest::prelude::*;

use super::*;
use crate::io::OsFileSystem;

/// One batch to come: gap before it, records, bytes of each, step in time.
type Plan = (u64, u64, usize, i64, bool);

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let plan = (0..3_u64, 1..6_u64, 0..700_usize, -50..90_i64, any::<bool>());
    proptest::collection::vec(plan, 1..60)
}

/// What must come back: batches, their first and last offsets, their times.
struct Model {
    batches: Vec<Bytes>,
    /// Offset and time of every record, with the number of its batch.
    records: Vec<(Offset, Timestamp, usize)>,
}

fn build(env: &SegmentEnv, base: u64, plans: &[Plan]) -> Model {
    let (mut next, mut now) = (base, 1_000);
    let mut model = Model {
        batches: Vec::new(),
        records: Vec::new(),
    };
    for (n, &(gap, count, len, step, packed)) in plans.iter().enumerate() {
        next += gap * 7;
        let mut builder = BatchBuilder::new();
        builder.start(Offset::new(next), Timestamp::from_millis(now), false);
        for _ in 0..count {
            let time = Timestamp::from_millis(now);
            builder.push(&Record::new(&vec![b'x'; len]).timestamp(time), time);
            model.records.push((Offset::new(next), time, n));
            next += 1;
            now += step;
        }
        let codec = if packed { Codec::Lz4 } else { Codec::None };
        model.batches.push(builder.seal(codec, env.seed()));
    }
    model
}

impl Model {
    /// The batches that a read from `from` returns, up to `max` bytes.
    fn read(&self, from: Offset, max: usize) -> &[Bytes] {
        let record = self.records.iter().find(|record| record.0 >= from);
        let rest = record.map_or(&[][..], |record| &self.batches[record.2..]);
        let mut bytes = 0;
        let more = rest.iter().position(|batch| {
            bytes += batch.len();
            bytes >= max
        });
        more.map_or(rest, |last| &rest[..=last])
    }

    fn find_time(&self, time: Timestamp) -> Option<Offset> {
        let record = self.records.iter().find(|record| record.1 >= time);
        record.map(|record| record.0)
    }
}

fn agrees(reader: &SegmentReader, meta: &SegmentMeta, model: &Model, probes: &[(u64, usize)]) {
    for &(at, max) in probes {
        let from = meta.base.get() + at;
        let found = read(reader, meta, from, max).unwrap();
        let expected = model.read(Offset::new(from), max);
        assert_eq!(found, expected, "from {from}, at most {max}");
        let time = Timestamp::from_millis(i64::try_from(at).unwrap() * 4 - 500);
        let found = reader.find_time(time, meta.bytes, meta.end).unwrap();
        assert_eq!(found, model.find_time(time), "at {time}");
    }
}

fn behaves_like_a_list(env: &SegmentEnv, plans: &[Plan], calls: &[usize], probes: &[(u64, usize)]) {
    let base = Offset::new(1_000);
    let model = build(env, base.get(), plans);
    let mut writer = SegmentWriter::create(env.clone(), base, Timestamp::MIN).unwrap();
    let mut rest = &model.batches[..];
    for (n, &count) in calls.iter().cycle().enumerate() {
        let (now, later) = rest.split_at(count.min(rest.len()));
        writer.append(now).unwrap();
        if n % 3 == 1 {
            writer.sync().unwrap();
            writer = SegmentWriter::reopen(env.clone(), &writer.meta()).unwrap();
        }
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    let active = SegmentReader::open(env.clone(), &writer.meta(), ReadMode::Map).unwrap();
    agrees(&active, &writer.meta(), &model, probes);
    writer.seal(Timestamp::MIN, Lsn::ZERO).unwrap();
    let meta = writer.meta();
    assert_eq!(meta.records, to_u64(model.records.len()));
    for mode in MODES {
        let reader = SegmentReader::open(env.clone(), &meta, mode).unwrap();
        assert_eq!(reader.notes(), [""; 0]);
        agrees(&reader, &meta, &model, probes);
        let mut scan = reader.scan(Place::start(base));
        let mut seen = Vec::new();
        while let Some((position, batch)) = scan.next_batch().unwrap() {
            assert!(position < scan.position());
            seen.push(batch);
        }
        assert_eq!(raw(&seen), model.batches);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(64)
    })]

    #[test]
    fn a_segment_behaves_like_a_list_of_batches(
        plans in plans(),
        calls in proptest::collection::vec(1..9_usize, 1..9),
        probes in proptest::collection::vec((0..1_000_u64, 1..20_000_usize), 1..40),
        interval in 1..5_000_u32,
        seed in any::<u64>(),
    ) {
        let mut bench = Bench::on(SimFs::new(seed).with_maps(true));
        bench.env.index_interval_bytes = interval;
        behaves_like_a_list(&bench.env, &plans, &calls, &probes);
        let temp = tempfile::tempdir().unwrap();
        bench.env.dir = OsFileSystem::new().open_root(&temp.path().join("0"), true).unwrap();
        behaves_like_a_list(&bench.env, &plans, &calls, &probes);
    }
}

/// Two checkpoints, then a seal. Returns what the last snapshot would say.
fn checkpoints(bench: &Bench, batches: &[Bytes]) -> Result<(), Option<SegmentMeta>> {
    let mut snapshot = None;
    let now = Timestamp::MIN;
    let base = Offset::ZERO;
    let mut writer = SegmentWriter::create(bench.env.clone(), base, now).map_err(|_| None)?;
    for part in batches.chunks(40) {
        writer
            .append(part)
            .and_then(|()| writer.sync())
            .map_err(|_| snapshot)?;
        bench.env.dir.sync().map_err(|_| snapshot)?;
        snapshot = Some(writer.meta());
    }
    writer.seal(now, Lsn::ZERO).map_err(|_| snapshot)?;
    snapshot = Some(writer.meta());
    // A power cut after this must keep the sealed segment.
    bench.env.dir.sync().map_err(|_| snapshot)
}

#[test]
fn a_power_cut_at_any_step_keeps_what_a_snapshot_may_refer_to() {
    let whole = Bench::new();
    let batches = whole.batches(0, 120);
    checkpoints(&whole, &batches).unwrap();
    for step in 1..=whole.disk.steps() {
        let bench = Bench::on(SimFs::new(step).with_unit_len(512));
        bench.disk.cut_power_at(step);
        let Err(Some(meta)) = checkpoints(&bench, &batches) else {
            continue;
        };
        for (choice, disk) in bench.disk.crash_images(4, 12, step) {
            let after = Bench::on(disk);
            let context = format!("step {step}, {choice:?}");
            keeps(&after, &meta, &batches, &context);
        }
    }
}

fn keeps(after: &Bench, meta: &SegmentMeta, batches: &[Bytes], context: &str) {
    let kept = usize::try_from(meta.records / 3).unwrap();
    let reader = after.open(meta, ReadMode::Pread).expect(context);
    let found = read(&reader, meta, 0, usize::MAX).expect(context);
    assert_eq!(found, batches[..kept], "{context}");
    if meta.sealed.is_some() {
        assert_eq!(reader.notes(), [""; 0], "{context}");
        return;
    }
    // What comes next need not be what the power cut took: other batches, of
    // other sizes, at the same offsets. No stale index entry may survive that.
    let mut writer = SegmentWriter::reopen(after.env.clone(), meta).expect(context);
    let other: Vec<Bytes> = (0..60)
        .map(|n| after.batch(meta.end.get() + 5 * n, 5))
        .collect();
    writer.append(&other).expect(context);
    writer.sync().expect(context);
    let meta = writer.meta();
    for (choice, disk) in after.disk.crash_images(4, 20, 1) {
        let context = format!("{context}, then {choice:?}");
        let last = Bench::on(disk);
        let writer = SegmentWriter::reopen(last.env.clone(), &meta).expect(&context);
        let expected = [&batches[..kept], &other].concat();
        let mut fresh = Bench::new().create(0);
        fresh.append(&expected).unwrap();
        let entries = |writer: &SegmentWriter| writer.index().with(<[_]>::to_vec);
        assert_eq!(entries(&writer), entries(&fresh), "{context}");
    }
}
