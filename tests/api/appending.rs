//! Where records go: keys, chosen partitions, batches over several.

use std::collections::BTreeMap;

use duolog::{AppendOptions, Durability, Record, TopicOptions};

use crate::support::{Place, manual, records, small, values};

#[test]
fn records_of_a_key_go_to_one_partition_in_their_order() {
    let place = Place::new();
    let engine = place.open(manual());
    let options = TopicOptions::default().partitions(8);
    let topic = engine.create_topic("t", options).unwrap();
    let texts: Vec<(String, String)> = (0..200)
        .map(|n| (format!("key-{}", n % 20), format!("{n:03}")))
        .collect();
    let batch: Vec<_> = texts
        .iter()
        .map(|(key, value)| Record::new(value).key(key))
        .collect();
    let placed = topic
        .append_batch(&batch, &AppendOptions::default())
        .unwrap();
    assert!(placed.len() > 1, "all keys in one partition");
    assert_eq!(placed.iter().map(|run| run.count).sum::<u32>(), 200);
    let mut home: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for run in &placed {
        let found = records(&topic, run.partition);
        assert_eq!(found.len(), run.count as usize);
        let mut newest = BTreeMap::new();
        for record in found {
            let key = record.key.unwrap().to_vec();
            let before = newest.insert(key.clone(), record.value.clone());
            assert!(before < Some(record.value), "out of order");
            assert_eq!(*home.entry(key).or_insert(run.partition), run.partition);
        }
    }
    for (key, partition) in home {
        let placed = topic.append(&Record::new("one more").key(&key)).unwrap();
        assert_eq!(placed.partition, partition);
    }
}

#[test]
fn a_chosen_partition_beats_the_key() {
    let place = Place::new();
    let engine = place.open(manual());
    let options = TopicOptions::default().partitions(3);
    let topic = engine.create_topic("t", options).unwrap();
    for partition in 0..3 {
        let there = AppendOptions::default().partition(partition);
        let record = Record::new("x").key("same");
        assert_eq!(
            topic.append_with(&record, &there).unwrap().partition,
            partition
        );
        let placed = topic
            .append_batch(&[record.clone(), record], &there)
            .unwrap();
        assert_eq!((placed.len(), placed[0].partition), (1, partition));
        assert_eq!(values(&topic, partition).len(), 3);
    }
}

#[test]
fn records_without_a_key_come_to_every_partition_in_time() {
    let place = Place::new();
    let engine = place.open(small());
    let options = TopicOptions::default()
        .partitions(4)
        .durability(Durability::Buffered);
    let topic = engine.create_topic("t", options).unwrap();
    let value = vec![0; 1024];
    for _ in 0..200 {
        topic.append(&Record::new(&value)).unwrap();
    }
    for partition in 0..4 {
        let count = records(&topic, partition).len();
        assert!(count > 10, "partition {partition} has {count}");
    }
}

#[test]
fn the_topics_own_durability_is_used_where_none_is_chosen() {
    let place = Place::new();
    let engine = place.open(manual());
    let options = TopicOptions::default().durability(Durability::Transient);
    let topic = engine.create_topic("t", options).unwrap();
    let before = engine.stats().wal_bytes;
    topic.append(&Record::new("transient")).unwrap();
    assert_eq!(engine.stats().wal_bytes, before);
    let durable = AppendOptions::default().durability(Durability::Durable);
    topic
        .append_with(&Record::new("durable"), &durable)
        .unwrap();
    assert!(engine.stats().wal_bytes > before);
    assert_eq!(values(&topic, 0), ["transient", "durable"]);
}
