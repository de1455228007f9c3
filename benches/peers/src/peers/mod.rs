//! The peers: one file each, all behind the trait [`Store`].
//!
//! The header of each file says which setting was chosen and why. The rule: the
//! fastest that the peer offers for the level that is asked for, and nothing
//! encoded outside of the time that is measured.

mod commitlog;
mod duolog;
mod fjall;
mod mrecordlog;
mod okaywal;
mod raft_engine;
mod redb;
mod sqlite;
mod walrus;

use std::path::Path;

use crate::Result;
use crate::plan::{Level, Work};

/// What a store is opened for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    /// Its own directory: empty, or as the same peer left it.
    pub(crate) dir: &'a Path,
    pub(crate) level: Level,
    /// One thread appends, one record a call.
    pub(crate) one_by_one: bool,
}

/// A call to append.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// Which of the prepared batches this is.
    pub(crate) index: usize,
    /// What is in it.
    pub(crate) values: &'a [&'a [u8]],
}

/// What appends, for one thread.
pub(crate) trait Writer: Send {
    /// Appends all of `call`, and returns when it is as safe as the store's
    /// level demands.
    fn append(&mut self, call: &Call<'_>) -> Result<()>;

    /// Waits for whatever `append` left under way.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// An open store of a peer.
pub(crate) trait Store: Send + Sync {
    /// A writer. `batches` is what it will be called with: it may make views
    /// of them ahead, but not encode them.
    fn writer<'a>(&'a self, batches: &'a [Vec<&'a [u8]>]) -> Result<Box<dyn Writer + 'a>>;

    /// Reads everything from front to back.
    fn scan(&self) -> Result<Scanned>;

    /// Closes in good order.
    fn close(self: Box<Self>) -> Result<()>;
}

/// What a scan came across.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Scanned {
    pub(crate) fn add(&mut self, value: &[u8]) {
        self.records += 1;
        self.bytes += u64::try_from(value.len()).unwrap_or(u64::MAX);
    }
}

/// How threads share a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Each has a writer, and the peer groups what they write.
    Own,
    /// Behind [`Combiner`](crate::combine::Combiner).
    Combined,
}

/// A peer, and what is said about it under the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// The package in Cargo.lock, for its version.
    pub(crate) package: &'static str,
    /// Whether its source has an fsync of the data at all.
    pub(crate) syncs: bool,
    pub(crate) sharing: Sharing,
    /// Setting for durable and for other appends.
    pub(crate) setting: &'static str,
    /// What a scan checks.
    pub(crate) scan: &'static str,
    /// Why it has no part in a work.
    pub(crate) skips: fn(&Work) -> Option<&'static str>,
    pub(crate) open: fn(&Setup<'_>) -> Result<Box<dyn Store>>,
}

/// All of them; duolog first.
pub(crate) const PEERS: &[Peer] = &[
    duolog::PEER,
    duolog::TICKETS,
    okaywal::PEER,
    raft_engine::PEER,
    fjall::PEER,
    redb::PEER,
    sqlite::PEER,
    walrus::PEER,
    mrecordlog::PEER,
    commitlog::PEER,
];

/// The peer of that name.
pub(crate) fn peer(name: &str) -> Result<&'static Peer> {
    let names: Vec<_> = PEERS.iter().map(|peer| peer.name).collect();
    let found = PEERS.iter().find(|peer| peer.name == name);
    found.ok_or_else(|| format!("no peer {name:?}: there are {}", names.join(", ")).into())
}

impl Peer {
    /// Its version, as Cargo.lock has it.
    pub(crate) fn version(&self) -> String {
        let lock = include_str!("../../Cargo.lock");
        let name = format!("name = \"{}\"\nversion = \"", self.package);
        let found = lock.split_once(&name);
        let found = found.and_then(|(_, rest)| rest.split('"').next());
        let found = found.unwrap_or("of unknown version");
        // The binding has a version, and what is bound another.
        if self.package == sqlite::PEER.package {
            return format!("{found} with SQLite {}", rusqlite::version());
        }
        found.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_a_version() {
        for peer in PEERS {
            let version = peer.version();
            assert!(
                version.starts_with(|c: char| c.is_ascii_digit()),
                "{peer:?}"
            );
        }
    }
}
