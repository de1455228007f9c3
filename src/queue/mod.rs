//! Queues: one consumer a message, and what is consumed is gone.
//!
//! A queue owns lanes. A lane is a partition with one ledger, and the ledger
//! says of each record whether it is done, in flight, delayed or ready. All in
//! here is pure: the engine reads the records, logs what changed, then tells
//! the ledger.

pub(crate) mod ledger;
pub(crate) mod offsets;
