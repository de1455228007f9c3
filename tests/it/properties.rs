//! Promises of the engine as a whole, for whatever is done to it.

use duolog::{Codec, Durability};

use crate::world::{Append, Op, Setup, World, small};

/// Symptom: a topic with segments of 4 KiB had one of 25 KiB after a checkpoint,
/// and retention could not get at it. Cause: a flush asked the writer whether
/// the segment was full before it had written anything, and an empty one never
/// is. Fix: what waits to be written counts.
#[test]
fn segments_are_sealed_at_their_size_within_one_flush() {
    let mut world = World::new(Setup::default());
    let mut ops = vec![Op::Create("t", small())];
    let append = Op::Append(Append {
        topic: "t",
        partition: Some(0),
        sizes: vec![1500],
        keyed: false,
        durability: Durability::Durable,
        codec: Codec::None,
    });
    ops.extend(std::iter::repeat_n(append, 8));
    ops.push(Op::Checkpoint);
    for op in &ops {
        world.run(op, &"fill").expect("a disk without faults");
    }
    let files = world.disk.list_files();
    let logs = files
        .iter()
        .filter(|(path, _)| path.rsplit('.').next() == Some("log"));
    let sizes: Vec<_> = logs.map(|(_, len)| *len).collect();
    assert_eq!(sizes.len(), 4, "{sizes:?}");
    assert!(sizes.iter().all(|len| *len <= 4096 + 64), "{sizes:?}");
}
