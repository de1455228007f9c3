//! The checker is shown stores that are wrong, and has to notice.

use crate::check::{Found, Held, Model, Placed, Said};
use crate::child::parse;
use crate::work::{Id, KINDS, Kind, Op, PARTITIONS};

type Test = (&'static str, fn() -> Result<(), String>);

/// All tests of the checker.
pub(crate) const ALL: [Test; 9] = [
    ("a_store_with_all_it_promised_passes", sound),
    ("a_lost_record_is_noticed", lost),
    ("a_record_that_is_there_twice_is_noticed", twice),
    ("a_record_of_nobody_is_noticed", unknown),
    ("half_a_batch_is_noticed", torn),
    ("a_hole_in_what_was_buffered_is_noticed", hole),
    ("what_vanishes_later_is_noticed", vanished),
    ("a_transient_record_that_comes_back_is_noticed", transient),
    ("topics_and_trims_are_held_to_their_word", catalog),
];

fn thread(kind: Kind) -> u8 {
    let at = KINDS.iter().position(|other| *other == kind);
    u8::try_from(at.expect("there is one")).expect("few")
}

fn op(kind: Kind, number: u32) -> Op {
    Op {
        round: 0,
        thread: thread(kind),
        number,
    }
}

/// A store in which each operation was acknowledged and is there.
fn store(ops: &[Op]) -> (Model, Found) {
    let mut model = Model::default();
    let mut partitions = vec![Held::default(); PARTITIONS as usize + 1];
    for op in ops {
        let partition = op.partition().unwrap_or(0);
        let held = &mut partitions[partition as usize];
        let placed = Placed {
            partition,
            offset: held.end,
            count: u64::from(op.len()),
        };
        let ids = (0..op.len()).map(|index| Id { op: *op, index });
        held.records.extend((held.end..).zip(ids));
        held.end += placed.count;
        model.hear(0, Said::Appended(op.thread, op.number, vec![placed]));
    }
    let found = Found {
        partitions,
        ..Found::default()
    };
    (model, found)
}

fn ops(kind: Kind, count: u32) -> Vec<Op> {
    (0..count).map(|number| op(kind, number)).collect()
}

/// The error of a check that must have one.
fn refused(model: &mut Model, found: &Found, word: &str) -> Result<(), String> {
    match model.check(found, 0) {
        Ok(()) => Err(format!("let pass, though it is {word}")),
        Err(error) if error.contains(word) => Ok(()),
        Err(error) => Err(format!("not {word:?}: {error}")),
    }
}

fn sound() -> Result<(), String> {
    let all = KINDS.iter().filter(|kind| **kind != Kind::Transient);
    let mut seen: Vec<Op> = Vec::new();
    for kind in all {
        seen.extend(ops(*kind, 20));
    }
    seen.sort_unstable();
    seen.dedup();
    let (mut model, found) = store(&seen);
    model.check(&found, 0)?;
    model.check(&found, 0)
}

fn lost() -> Result<(), String> {
    for kind in [Kind::Single, Kind::Batch, Kind::Spread, Kind::Tickets] {
        let (model, found) = store(&ops(kind, 5));
        // Any of them, and the last ones too: a prefix is not enough.
        for (number, held) in found.partitions.iter().enumerate() {
            for at in 0..held.records.len() {
                let mut found = found.clone();
                found.partitions[number].records.remove(at);
                refused(&mut model.clone(), &found, "lost")?;
            }
        }
    }
    Ok(())
}

fn twice() -> Result<(), String> {
    let (mut model, mut found) = store(&ops(Kind::Single, 9));
    let (_, id) = found.partitions[0].records[0];
    let aux = &mut found.partitions[PARTITIONS as usize];
    aux.records.push((0, id));
    aux.end = 1;
    refused(&mut model, &found, "is at")?;
    let (mut model, mut found) = store(&ops(Kind::Batch, 3));
    found.partitions.iter_mut().for_each(|held| {
        held.records.reverse();
    });
    refused(&mut model, &found, "comes after")
}

fn unknown() -> Result<(), String> {
    let (_, found) = store(&ops(Kind::Single, 9));
    let (mut model, _) = store(&ops(Kind::Single, 7));
    refused(&mut model, &found, "never written")?;
    let mut content = Id {
        op: op(Kind::Single, 3),
        index: 0,
    }
    .content();
    let id = Id::of_value(&content.value).ok_or("no id")?;
    if id.content() != content {
        return Err("a record does not equal itself".to_owned());
    }
    content.value.push(0);
    if Id::of_value(&content.value).is_some_and(|id| id.content() == content) {
        return Err("an altered record equals the one that was written".to_owned());
    }
    Ok(())
}

fn torn() -> Result<(), String> {
    let mut ops_of_kind = (0..).map(|n| op(Kind::Batch, n));
    let last = ops_of_kind.find(|op| op.len() > 1).ok_or("none")?;
    let all = ops(Kind::Batch, last.number + 1);
    // The last one was not acknowledged; half of it is there.
    let (model, _) = store(&all[..all.len() - 1]);
    let (_, mut found) = store(&all);
    for held in &mut found.partitions {
        held.records.pop();
    }
    refused(&mut model.clone(), &found, "torn")
}

fn hole() -> Result<(), String> {
    let all = ops(Kind::Buffered, 6);
    let (mut model, full) = store(&all);
    // The end may be missing: it was only buffered.
    let without = |ops: &[u32]| {
        let mut found = full.clone();
        for held in &mut found.partitions {
            held.records.retain(|(_, id)| !ops.contains(&id.op.number));
        }
        found
    };
    model.clone().check(&without(&[4, 5]), 0)?;
    refused(&mut model.clone(), &without(&[3]), "a hole")?;
    // Unless it was synced.
    model.hear(0, Said::Synced(thread(Kind::Buffered), 4));
    model.clone().check(&without(&[5]), 0)?;
    refused(&mut model, &without(&[4, 5]), "lost")
}

fn vanished() -> Result<(), String> {
    let all = ops(Kind::Buffered, 6);
    let (mut model, mut found) = store(&all);
    model.check(&found, 0)?;
    for held in &mut found.partitions {
        held.records.retain(|(_, id)| id.op.number != 5);
    }
    refused(&mut model, &found, "before")
}

fn transient() -> Result<(), String> {
    let (mut model, found) = store(&ops(Kind::Transient, 1));
    refused(&mut model, &found, "transient")
}

fn catalog() -> Result<(), String> {
    let (mut model, mut found) = store(&ops(Kind::Trimmed, 9));
    for line in ["c a", "c b", "d? b", "t? 5", "t 5"] {
        model.hear(0, parse(line).ok_or("a line that does not parse")?);
    }
    refused(&mut model.clone(), &found, "is gone")?;
    found.topics.insert("a".to_owned());
    refused(&mut model.clone(), &found, "trimmed")?;
    let aux = &mut found.partitions[PARTITIONS as usize];
    aux.start = 5;
    aux.records.retain(|(offset, _)| *offset >= 5);
    model.check(&found, 0)?;
    found.topics.insert("b".to_owned());
    model.check(&found, 0)?;
    model.hear(0, Said::Deleted("b".to_owned()));
    refused(&mut model, &found, "is back")
}
