//! Open a store, append, read back, and find it all again after a restart.
//!
//! Run it with `cargo run --release --example quickstart`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use duolog::{AppendOptions, Durability, Engine, Fetch, Options, Record, Start, TopicOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("data");

    let engine = Engine::open(&path, Options::default())?;
    let orders = engine.create_topic("orders", TopicOptions::default().partitions(3))?;

    // Durable: a power cut after this line does not lose it.
    let placed = orders.append(
        &Record::new("two apples")
            .key("customer-7")
            .header("trace", "a1"),
    )?;
    println!(
        "stored in partition {} at offset {}",
        placed.partition, placed.offset
    );

    // Buffered: accepted at once, synced soon. Many in one call share a batch.
    let lines: Vec<String> = (0..1000).map(|n| format!("order {n}")).collect();
    let records: Vec<Record<'_>> = lines
        .iter()
        .map(|line| Record::new(line).key(line))
        .collect();
    let buffered = AppendOptions::default().durability(Durability::Buffered);
    orders.append_batch(&records, &buffered)?;

    // Several durable appends under way at once share syncs.
    let tickets = (0..10)
        .map(|_| orders.append_nowait(&[Record::new("express")], &AppendOptions::default()))
        .collect::<Result<Vec<_>, _>>()?;
    for ticket in tickets {
        ticket.wait()?;
    }
    engine.close()?;

    let engine = Engine::open(&path, Options::default())?;
    let orders = engine.topic("orders")?;
    let fetch = Fetch::default().max_wait(Duration::from_millis(10));
    let mut total = 0;
    for partition in 0..orders.options().partitions {
        let mut reader = orders.reader(partition, Start::Earliest)?;
        loop {
            let fetched = reader.fetch(&fetch)?;
            if fetched.is_empty() {
                break;
            }
            for batch in fetched.batches() {
                total += batch.records()?.iter().count();
            }
        }
    }
    println!("found {total} records after the restart");
    let stats = engine.stats();
    println!(
        "{} bytes of them were in segments already",
        stats.bytes_fetched
    );
    engine.close()?;
    Ok(())
}
