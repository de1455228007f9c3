//! Power cuts: which disks the pending operations may leave behind.
//!
//! Everything durable is there. Of what is pending any subset may be, in any
//! order, because neither the kernel nor the disk promises one. Within a unit
//! the disk keeps whole sectors of 512 bytes. Where a write was lost and
//! nothing was ever durable, the file may read as zeros, as garbage, or as
//! old bytes of other blocks: the length can become durable before the data.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::{Content, SECTOR_LEN, SECTORS};
use super::disk::{Disk, ROOT};
use super::node::{Body, DirNode, Entries, FileNode, FileOp, Ino, Node};
use super::random::{Random, mix};
use super::tree::join;
use crate::ids::to_u64;

/// Most pending units for which all subsets are made: a million images.
const EXHAUSTIVE_MAX: u32 = 20;

/// Which of the pending units a power cut keeps.
///
/// Units are numbered by age; see [`SimFs::pending`](super::SimFs::pending).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crash {
    /// None: only what was synced is there.
    NothingUnsynced,
    /// All, as after the death of the process alone.
    AllUnsynced,
    /// Chance decides, by this seed: how much is kept, what is torn at 512
    /// bytes, and what lost writes beyond the durable length read as.
    Seeded(u64),
    /// Unit `i` if bit `i` is set. Units from the 64th on are lost.
    Subset(u64),
}

/// What becomes of one unit.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// Bit `s`: sector `s` of the page is kept. Units that are not writes are
    /// kept if any bit is set.
    kept: u8,
    /// What lost sectors read as where nothing was durable.
    filler: Filler,
}

#[derive(Clone, Copy, Debug)]
enum Filler {
    /// Whatever is there.
    Old,
    /// Bytes of this seed.
    Garbage(u64),
    /// Another page of the file, chosen by this seed: valid, but not here.
    Stale(u64),
}

const KEPT: Fate = Fate {
    kept: u8::MAX,
    filler: Filler::Old,
};
const LOST: Fate = Fate {
    kept: 0,
    filler: Filler::Old,
};

/// The fates of the pending operations of each node, in their order.
type Fates = BTreeMap<Ino, Vec<Fate>>;

impl Disk {
    /// Everything pending, oldest first: place, node.
    fn units(&self) -> Vec<(u64, Ino)> {
        let mut units = Vec::new();
        for (ino, node) in &self.nodes {
            match &node.body {
                Body::File(file) => units.extend(file.pending.iter().map(|p| (p.seq, *ino))),
                Body::Dir(dir) => units.extend(dir.pending.iter().map(|p| (p.seq, *ino))),
            }
        }
        // By node within a place, and stable: the order of the operations.
        units.sort_by_key(|(seq, _)| *seq);
        units
    }

    /// How many units a power cut may take or leave.
    pub(super) fn pending_units(&self) -> usize {
        self.units().len()
    }

    /// The same units in words.
    pub(super) fn describe_pending(&self) -> Vec<String> {
        let nodes = self.nodes.values();
        let mut lines: Vec<_> = nodes.flat_map(|node| node.pending()).collect();
        lines.sort_by_key(|(seq, _)| *seq);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// All subsets if there are few units, else the extremes and samples.
    pub(super) fn crash_choices(&self, up_to: u32, samples: u32, seed: u64) -> Vec<Crash> {
        let units = to_u64(self.pending_units());
        if units <= u64::from(up_to.min(EXHAUSTIVE_MAX)) {
            return (0..1_u64 << units).map(Crash::Subset).collect();
        }
        let seeded = (0..u64::from(samples)).map(|i| Crash::Seeded(mix(seed.wrapping_add(i))));
        [Crash::NothingUnsynced, Crash::AllUnsynced]
            .into_iter()
            .chain(seeded)
            .collect()
    }

    /// The disk after a power cut, powered on again.
    pub(super) fn crash(&self, choice: Crash) -> Self {
        let fates = self.fates(choice);
        let mut nodes = BTreeMap::new();
        let mut reached = vec![(ROOT, ROOT, Arc::from("/"))];
        while let Some((ino, parent, path)) = reached.pop() {
            let Some(node) = self.nodes.get(&ino) else {
                continue;
            };
            let image = survivor(node, parent, &path, fates.get(&ino));
            if let Body::Dir(dir) = &image.body {
                for (name, below) in &dir.durable {
                    reached.push((*below, ino, join(&path, name)));
                }
            }
            nodes.insert(ino, image);
        }
        let seed = mix(self.seed ^ choice.key().rotate_left(17) ^ mix(self.gate.steps));
        Self::with_nodes(nodes, self.next_ino, seed, self.settings.clone())
    }

    fn fates(&self, choice: Crash) -> Fates {
        let units = self.units();
        let mut fates = Fates::new();
        let mut chance = match choice {
            Crash::Seeded(seed) => Some(Chance::new(seed, units.len())),
            _ => None,
        };
        for (index, (_, ino)) in units.into_iter().enumerate() {
            let fate = match (choice, &mut chance) {
                (Crash::AllUnsynced, _) => KEPT,
                (Crash::Subset(mask), _) if index < 64 && mask >> index & 1 == 1 => KEPT,
                (Crash::Seeded(_), Some(chance)) => chance.fate(index, self.is_dir_node(ino)),
                _ => LOST,
            };
            fates.entry(ino).or_default().push(fate);
        }
        fates
    }

    fn is_dir_node(&self, ino: Ino) -> bool {
        self.nodes
            .get(&ino)
            .is_some_and(|node| matches!(node.body, Body::Dir(_)))
    }
}

impl Crash {
    /// A number of its own, to give every image a seed of its own.
    fn key(self) -> u64 {
        match self {
            Self::NothingUnsynced => 1,
            Self::AllUnsynced => 2,
            Self::Seeded(seed) => mix(seed ^ 3),
            Self::Subset(mask) => mix(mask ^ mix(4)),
        }
    }
}

/// How one seeded power cut deals with units.
struct Chance {
    random: Random,
    /// Percent of file units and of directory units kept.
    data: u64,
    names: u64,
    /// Keep everything before this unit and lose all from it on: writes that
    /// happened in order.
    cut: Option<u64>,
}

impl Chance {
    fn new(seed: u64, units: usize) -> Self {
        // Extremes on purpose: half of everything is the dullest of images.
        const PERCENT: [u64; 5] = [0, 15, 50, 85, 100];
        let mut random = Random::new(mix(seed));
        let mut percent = || {
            let index = random.below(to_u64(PERCENT.len()));
            PERCENT
                .get(crate::ids::to_usize(index))
                .copied()
                .unwrap_or(50)
        };
        let (data, names) = (percent(), percent());
        let cut = random.chance(25).then(|| random.below(to_u64(units) + 1));
        Self {
            random,
            data,
            names,
            cut,
        }
    }

    fn fate(&mut self, index: usize, is_name: bool) -> Fate {
        let index = to_u64(index);
        let keep = match self.cut {
            Some(cut) if index < cut => 100,
            // The unit under way when the power went may be torn.
            Some(_) => 0,
            None if is_name => self.names,
            None => self.data,
        };
        if self.random.chance(keep) {
            return KEPT;
        }
        if is_name {
            return LOST;
        }
        let may_tear = self.cut.is_none_or(|cut| cut == index);
        let tear = may_tear && self.random.chance(30);
        let [mask, ..] = self.random.next().to_le_bytes();
        let filler = match self.random.below(4) {
            0 => Filler::Garbage(self.random.next()),
            1 => Filler::Stale(self.random.next()),
            _ => Filler::Old,
        };
        Fate {
            kept: if tear { mask } else { 0 },
            filler,
        }
    }
}

/// What is left of `node`, found at `path` in the image.
fn survivor(
    node: &Arc<Node>,
    parent: Ino,
    path: &Arc<str>,
    fates: Option<&Vec<Fate>>,
) -> Arc<Node> {
    if node.is_clean() && node.linked && node.path == *path {
        return Arc::clone(node);
    }
    let fates = fates.map(Vec::as_slice).unwrap_or_default();
    let body = match &node.body {
        Body::File(file) => Body::File(FileNode::durable(surviving_content(file, fates))),
        Body::Dir(dir) => {
            let entries = surviving_entries(dir, fates);
            Body::Dir(DirNode {
                live: entries.clone(),
                durable: entries,
                ..DirNode::default()
            })
        }
    };
    Arc::new(Node {
        path: Arc::clone(path),
        parent,
        linked: true,
        body,
    })
}

fn surviving_entries(dir: &DirNode, fates: &[Fate]) -> Entries {
    let mut entries = dir.durable.clone();
    for (pending, fate) in dir.pending.iter().zip(fates) {
        if fate.kept != 0 {
            pending.op.apply(&mut entries);
        }
    }
    entries
}

fn surviving_content(file: &FileNode, fates: &[Fate]) -> Content {
    let mut content = file.durable.clone();
    // Bytes below this length were durable: lost writes there leave the old
    // bytes, and never anything else.
    let mut floor = content.len();
    for (pending, fate) in file.pending.iter().zip(fates) {
        match &pending.op {
            FileOp::Sectors { index, sectors, .. } if fate.kept != u8::MAX => {
                for sector in sectors.clone() {
                    if fate.kept >> sector & 1 == 1 {
                        keep_sector(&mut content, &pending.op, sector);
                    } else if to_u64((index * SECTORS + sector) * SECTOR_LEN) >= floor {
                        fill_sector(&mut content, file, *index, sector, fate.filler);
                    }
                }
            }
            _ if fate.kept == 0 => {}
            op => {
                op.apply(&mut content);
                if let FileOp::Length(len) = op {
                    floor = floor.min(*len);
                }
            }
        }
    }
    content.set_len(content.len());
    content
}

fn keep_sector(content: &mut Content, op: &FileOp, sector: usize) {
    if let FileOp::Sectors { index, page, .. } = op {
        content.put_sectors(*index, &(sector..sector + 1), page);
    }
}

fn fill_sector(content: &mut Content, file: &FileNode, index: usize, sector: usize, with: Filler) {
    let sectors = sector..sector + 1;
    match with {
        Filler::Old => {}
        Filler::Garbage(seed) => {
            let mut page = [0; super::content::PAGE_LEN];
            Random::new(seed).fill(&mut page);
            content.put_sectors(index, &sectors, &Arc::new(page));
        }
        Filler::Stale(seed) => {
            let pages = to_u64(file.durable.page_count());
            let other = crate::ids::to_usize(Random::new(seed).below(pages));
            if let Some(page) = file.durable.page(other) {
                content.put_sectors(index, &sectors, page);
            }
        }
    }
}
