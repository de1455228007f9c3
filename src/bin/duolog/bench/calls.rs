//! The loops of the threads that append.
//!
//! A closed loop calls again when a call returned: it shows what goes at most.
//! An open loop has a timetable, as producers that do not know of each other
//! have, and counts a latency from the moment at which the call was due: a
//! stall then shows in all calls that it held up, and not only in one.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use duolog::{AppendOptions, Durability, Record, Ticket, Topic};

use super::load::Load;
use super::meter::Meter;
use super::payload::Payload;
use super::to_u64;
use crate::failure::Failure;
use crate::signals;

/// Calls between two looks at the clock where a call costs less than the look.
const SAMPLE_EVERY: usize = 64;

/// What thread `n` of a load does.
pub(super) fn until(
    load: &Load,
    n: u32,
    topic: &Topic,
    payload: &Payload,
    meter: Meter,
) -> Result<Meter, Failure> {
    let batches = payload.batches(usize::try_from(load.work.batch).unwrap_or(1));
    match (load.work.rate, load.work.nowait) {
        (Some(rate), _) => on_time(topic, &batches, &Timetable::new(load, rate, n), meter),
        (None, Some(depth)) => pipelined(topic, &batches, depth, meter),
        (None, None) if load.work.batch == 1 && load.work.durability != Durability::Durable => {
            one_by_one_sampled(topic, &batches, meter)
        }
        (None, None) => one_call_at_a_time(topic, &batches, meter),
    }
}

fn append(topic: &Topic, records: &[Record<'_>], options: &AppendOptions) -> Result<(), Failure> {
    if let [record] = records {
        topic.append(record)?;
    } else {
        topic.append_batch(records, options)?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn one_call_at_a_time(
    topic: &Topic,
    batches: &[Vec<Record<'_>>],
    mut meter: Meter,
) -> Result<Meter, Failure> {
    let options = AppendOptions::default();
    let mut before = Instant::now();
    for records in batches.iter().cycle() {
        append(topic, records, &options)?;
        let after = Instant::now();
        meter.call(after.duration_since(before));
        if !meter.tick(after, to_u64(records.len())) {
            break;
        }
        before = after;
    }
    Ok(meter)
}

/// Looks at the clock once in [`SAMPLE_EVERY`] calls.
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn one_by_one_sampled(
    topic: &Topic,
    batches: &[Vec<Record<'_>>],
    mut meter: Meter,
) -> Result<Meter, Failure> {
    let mut records = batches.iter().flatten().cycle();
    loop {
        let before = Instant::now();
        for record in records.by_ref().take(1) {
            topic.append(record)?;
        }
        meter.call(before.elapsed());
        for record in records.by_ref().take(SAMPLE_EVERY - 1) {
            topic.append(record)?;
        }
        if !meter.tick(Instant::now(), to_u64(SAMPLE_EVERY)) {
            return Ok(meter);
        }
    }
}

/// Keeps `depth` appends in flight; a latency is from call to acknowledgement.
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn pipelined(
    topic: &Topic,
    batches: &[Vec<Record<'_>>],
    depth: u32,
    mut meter: Meter,
) -> Result<Meter, Failure> {
    let depth = usize::try_from(depth).unwrap_or(usize::MAX);
    let options = AppendOptions::default();
    let mut in_flight: VecDeque<(Ticket, Instant, u64)> = VecDeque::with_capacity(depth);
    for records in batches.iter().cycle() {
        if in_flight.len() >= depth
            && let Some((ticket, called, messages)) = in_flight.pop_front()
        {
            ticket.wait()?;
            let now = Instant::now();
            meter.call(now.duration_since(called));
            if !meter.tick(now, messages) {
                break;
            }
        }
        let called = Instant::now();
        let ticket = topic.append_nowait(records, &options)?;
        in_flight.push_back((ticket, called, to_u64(records.len())));
    }
    // After the end: acknowledged, but not counted.
    for (ticket, _, _) in in_flight {
        ticket.wait()?;
    }
    Ok(meter)
}

/// When the calls of a thread are due.
#[derive(Clone, Copy, Debug)]
struct Timetable {
    /// From one call of this thread to its next.
    interval: Duration,
    /// From the start to its first call: the threads take turns.
    first: Duration,
}

impl Timetable {
    fn new(load: &Load, rate: f64, n: u32) -> Self {
        let between_calls = f64::from(load.work.batch) / rate;
        let interval = between_calls * f64::from(load.work.threads);
        // A rate is checked to be above zero, and an hour between two calls is
        // more than any measurement takes.
        let bounded = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.0, 3600.0));
        Self {
            interval: bounded(interval),
            first: bounded(between_calls * f64::from(n)),
        }
    }
}

/// Calls when a call is due, or at once if it was due before.
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn on_time(
    topic: &Topic,
    batches: &[Vec<Record<'_>>],
    timetable: &Timetable,
    mut meter: Meter,
) -> Result<Meter, Failure> {
    // Without it a sleep takes 50 us longer than asked for. Where it cannot be
    // had, those are in the latencies, as they are for any producer.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).unwrap_or_default();
    let options = AppendOptions::default();
    let mut due = Instant::now() + timetable.first;
    for records in batches.iter().cycle() {
        if !sleep_until(due, meter.end()) {
            break;
        }
        append(topic, records, &options)?;
        let now = Instant::now();
        meter.call(now.saturating_duration_since(due));
        if !meter.tick(now, to_u64(records.len())) {
            break;
        }
        due += timetable.interval;
    }
    Ok(meter)
}

/// Sleeps until `when`; false if the end comes before, or a signal.
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn sleep_until(when: Instant, end: Instant) -> bool {
    loop {
        let now = Instant::now();
        if when <= now {
            return true;
        }
        if now >= end || signals::stopped() {
            return false;
        }
        let left = when.min(end).duration_since(now);
        thread::sleep(left.min(signals::LOOK_EVERY));
    }
}
