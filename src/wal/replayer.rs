//! What tests of the log share: commits of one trim each, the smallest entry
//! there is, and a replay that collects them.

use super::Ask;
use super::recover::{From, Replay};
use crate::error::Result;
use crate::format::entry::Entry;
use crate::ids::{Lsn, Offset, PartitionId, TopicId};

/// The start of a log that no snapshot covers.
pub(super) const START: From = From {
    lsn: Lsn::ZERO,
    sequence: 1,
    evidence: Lsn::ZERO,
    keep: Lsn::ZERO,
};

/// The offsets of the trims that were replayed, in order.
#[derive(Default)]
pub(super) struct Seen(pub(super) Vec<u64>);

impl Replay for Seen {
    fn commit(&mut self, _lsn: Lsn, _end: Lsn, entries: &[Entry<'_>]) -> Result<()> {
        for entry in entries {
            let Entry::Trim(_, offset) = entry else {
                panic!("only trims were written: {entry:?}");
            };
            self.0.push(offset.get());
        }
        Ok(())
    }
}

/// The entry that [`Seen`] sees as `number`.
pub(super) fn trim(number: u64) -> Entry<'static> {
    let id = PartitionId {
        topic: TopicId::new(1),
        partition: 0,
    };
    Entry::Trim(id, Offset::new(number))
}

/// What a durable commit asks for.
pub(super) fn durable() -> Ask {
    Ask {
        sync: true,
        ..Ask::default()
    }
}
