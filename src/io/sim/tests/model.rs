//! Random runs against a model that has no cleverness: plain bytes.

use std::collections::BTreeMap;

use super::super::random::Random;
use super::*;

/// Names and bytes, live and as of the last syncs of everything.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    files: BTreeMap<String, Vec<u8>>,
}

impl Model {
    fn of(disk: &SimFs) -> Self {
        let files = disk.list_files().into_iter();
        let files = files.map(|(path, _)| {
            let bytes = disk.read_file(&path);
            (path.trim_start_matches("/data/").to_owned(), bytes)
        });
        Self {
            files: files.collect(),
        }
    }
}

/// One random change, done to the directory and to the model.
fn change(dir: &dyn Directory, model: &mut Model, random: &mut Random) {
    let name = format!("f{}", random.below(3));
    let at = usize::try_from(random.below(10_000)).unwrap();
    let to = format!("f{}", random.below(4));
    match random.below(8) {
        0 if model.files.contains_key(&name) => {
            dir.remove_file(&name).unwrap();
            model.files.remove(&name);
        }
        1 if model.files.contains_key(&name) => {
            dir.rename(&name, &to).unwrap();
            let bytes = model.files.remove(&name).unwrap();
            model.files.insert(to, bytes);
        }
        kind => {
            let file = dir.open(&name, OpenMode::Create).unwrap();
            let bytes = model.files.entry(name).or_default();
            let position = u64::try_from(at).unwrap();
            match kind {
                2 => {
                    file.set_len(position).unwrap();
                    bytes.resize(at, 0);
                }
                3 => {
                    file.allocate(position).unwrap();
                    bytes.resize(bytes.len().max(at), 0);
                }
                _ => {
                    let mut new = vec![0; usize::try_from(random.below(6000)).unwrap() + 1];
                    random.fill(&mut new);
                    let (a, b) = new.split_at(new.len() / 3);
                    file.write_all_vectored_at(&[a, b], position).unwrap();
                    bytes.resize(bytes.len().max(at + new.len()), 0);
                    bytes[at..at + new.len()].copy_from_slice(&new);
                }
            }
        }
    }
}

fn sync_all(dir: &dyn Directory) {
    for entry in dir.list().unwrap() {
        let file = dir.open(&entry.name, OpenMode::Read).unwrap();
        file.sync_data().unwrap();
    }
    dir.sync().unwrap();
}

#[test]
fn a_random_run_equals_its_model_at_every_sync_and_crash() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let (mut disk, mut dir) = store(seed);
        let (mut model, mut durable) = (Model::default(), Model::default());
        for step in 0..120 {
            let at = format!("seed {seed}, step {step}");
            change(&*dir, &mut model, &mut random);
            assert!(Model::of(&disk) == model, "live: {at}");
            let all = disk.crash(Crash::AllUnsynced);
            assert!(Model::of(&all) == model, "all kept: {at}");
            let nothing = disk.crash(Crash::NothingUnsynced);
            assert!(Model::of(&nothing) == durable, "all lost: {at}");
            match random.below(12) {
                0..2 => {
                    sync_all(&*dir);
                    durable = model.clone();
                    assert_eq!(disk.pending_units(), 0, "{at}");
                }
                2 => {
                    // Go on from what some power cut left.
                    disk = disk.crash(Crash::Seeded(random.next()));
                    dir = disk.open_root(Path::new("/data"), false).unwrap();
                    model = Model::of(&disk);
                    durable = model.clone();
                }
                3 => {
                    disk = disk.fork();
                    dir = disk.open_root(Path::new("/data"), false).unwrap();
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_random_run_reads_the_same_on_the_operating_system() {
    let temp = tempfile::tempdir().unwrap();
    let os = crate::io::OsFileSystem::new();
    for seed in 0..20 {
        let root = temp.path().join(seed.to_string());
        let dir = os.open_root(&root, true).unwrap();
        let mut random = Random::new(seed);
        let mut model = Model::default();
        for step in 0..60 {
            change(&*dir, &mut model, &mut random);
            for (name, bytes) in &model.files {
                let file = dir.open(name, OpenMode::Read).unwrap();
                let mut found = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
                file.read_exact_at(&mut found, 0).unwrap();
                assert!(found == *bytes, "seed {seed}, step {step}, {name}");
            }
            assert_eq!(dir.list().unwrap().len(), model.files.len());
        }
    }
}
