//! Transactions: what was collected, in one commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dead::{Dead, Texts};
use super::lane::{Lane, Stored};
use super::send::{Reserved, Times, complete};
use super::settle::Answer;
use super::work::{Later, Load, Settling, Work};
use super::{DeadReason, Message, MessageId, QueueEnv, QueueState};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Record;
use crate::ids::{Offset, Timestamp, to_u64};
use crate::options::{Codec, Durability};
use crate::partition::{Appended, How};
use crate::topic::TopicState;
use crate::wal::CommitHandle;

/// One thing that a transaction does.
#[derive(Debug)]
pub(crate) enum Step<'t> {
    Append {
        topic: Arc<TopicState>,
        partition: Option<u32>,
        record: Record<'t>,
    },
    Send {
        queue: Arc<QueueState>,
        message: Message<'t>,
    },
    Ack {
        queue: Arc<QueueState>,
        answer: Answer,
    },
    Bury {
        queue: Arc<QueueState>,
        answer: Answer,
        stored: Box<Stored>,
        deliveries: u32,
        error: Option<String>,
    },
}

impl Step<'_> {
    /// True if it takes a message out of the queue.
    fn settles(&self, of: &QueueState) -> bool {
        match self {
            Self::Ack { queue, .. } | Self::Bury { queue, .. } => queue.id == of.id,
            Self::Append { .. } | Self::Send { .. } => false,
        }
    }
}

/// Where the records of a transaction went.
#[derive(Debug)]
pub(crate) struct Done {
    /// For each step with a record: its lane or partition, and its offset.
    pub(crate) places: Vec<Option<(u32, Offset)>>,
    pub(crate) handle: Option<CommitHandle>,
}

/// What a step adds to its record, kept for as long as the commit takes.
struct Extra {
    times: Times,
    dead: Option<(Dead, Texts, Option<Arc<QueueState>>)>,
}

/// Does all steps in one commit, or none.
///
/// # Errors
///
/// `Fenced` if a delivery is no longer its consumer's; what sends and appends
/// say. Nothing is changed then.
pub(crate) fn transact(
    env: &QueueEnv,
    steps: &[Step<'_>],
    durability: Durability,
    codec: Codec,
) -> Result<Done> {
    let now = env.parts.clock.now();
    for step in steps {
        check(env, step)?;
    }
    let extras: Vec<_> = steps
        .iter()
        .map(|step| Extra::of(step, now))
        .collect::<Result<_>>()?;
    let records = steps.iter().zip(&extras);
    let records: Vec<_> = records
        .map(|(step, extra)| record_of(step, extra))
        .collect();
    let mut loads = Vec::new();
    let mut settled: BTreeMap<_, Settling<'_>> = BTreeMap::new();
    for (place, (step, extra)) in steps.iter().zip(&extras).enumerate() {
        let record = records.get(place).and_then(Option::as_ref);
        if let Some(record) = record {
            place_record(&mut loads, place, step, extra, record, now)?;
        }
        if let Step::Ack { queue, answer } | Step::Bury { queue, answer, .. } = step {
            let lane = queue.known_lane(answer.id.lane)?;
            let settling = settled.entry(lane.id).or_insert_with(|| Settling {
                queue,
                lane,
                answers: Vec::new(),
            });
            if settling.answers.contains(answer) {
                return Err(twice(answer.id));
            }
            settling.answers.push(*answer);
        }
    }
    loads.sort_by_key(|load| load.partition.id);
    let work = Work {
        loads,
        settlings: settled.into_values().collect(),
    };
    let counts = reserve(steps, &extras)?;
    let how = How {
        durability,
        codec,
        detached: false,
    };
    let accepted = work.commit(env, how).inspect_err(|_| give_back(&counts))?;
    for counted in counts.iter().filter(|counted| counted.over) {
        // It is committed, whatever becomes of this: at worst the queue is too
        // long until the next send.
        drop(counted.queue.cut_to_length());
    }
    Ok(Done {
        places: places(&work.loads, &accepted.appended, steps.len()),
        handle: accepted.handle,
    })
}

fn check(env: &QueueEnv, step: &Step<'_>) -> Result<()> {
    let own = match step {
        Step::Append { topic, .. } => topic.is_of(&env.parts),
        Step::Send { queue, .. } | Step::Ack { queue, .. } | Step::Bury { queue, .. } => {
            std::ptr::eq(&raw const *queue.env, env)
        }
    };
    if !own {
        return Err(Error::invalid(
            "a transaction is of one store; it has a topic, queue or delivery of another",
        ));
    }
    if let Step::Ack { queue, .. } | Step::Bury { queue, .. } = step {
        queue.check_open()?;
    }
    let Step::Send { queue, message } = step else {
        return Ok(());
    };
    let options = queue.options();
    queue.check_open()?;
    queue.check_own()?;
    message.check(options.priority_max)?;
    message.check_size(options.message_bytes_max)?;
    if message.dedup_id.is_some() && options.dedup_window.is_some() {
        return Err(Error::invalid(
            "a message of a transaction cannot have a deduplication id: acknowledge what it comes \
             from in the same transaction instead",
        ));
    }
    Ok(())
}

fn twice(id: MessageId) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("message {id} is answered twice in one transaction; answer once"),
    )
}

impl Extra {
    fn of(step: &Step<'_>, now: Timestamp) -> Result<Self> {
        let times = match step {
            Step::Send { message, .. } => Times::of(message, now),
            _ => Times::default(),
        };
        let Step::Bury {
            queue,
            answer,
            stored,
            deliveries,
            error,
        } = step
        else {
            return Ok(Self { times, dead: None });
        };
        let lane = queue.known_lane(answer.id.lane)?;
        let failed = lane.lock().ledger.failures(answer.id.offset);
        let dead = Dead {
            error: error.clone(),
            deliveries: *deliveries,
            ..Dead::of(stored.as_ref().clone(), DeadReason::Rejected, failed)
        };
        let texts = Texts::new(&dead, &queue.name, answer.id, now);
        let target = queue.dead_letter()?;
        Ok(Self {
            times,
            dead: Some((dead, texts, target)),
        })
    }
}

/// The record that a step stores, if it stores one.
fn record_of<'r>(step: &'r Step<'_>, extra: &'r Extra) -> Option<Record<'r>> {
    match (step, &extra.dead) {
        (Step::Append { record, .. }, _) => Some(record.clone()),
        (Step::Send { message, .. }, _) => Some(complete(message, &extra.times)),
        (Step::Bury { queue, .. }, Some((dead, texts, Some(_)))) => Some(queue.letter(dead, texts)),
        (Step::Ack { .. } | Step::Bury { .. }, _) => None,
    }
}

fn place_record<'w>(
    loads: &mut Vec<Load<'w>>,
    place: usize,
    step: &'w Step<'_>,
    extra: &'w Extra,
    record: &'w Record<'w>,
    now: Timestamp,
) -> Result<()> {
    let lane_of = |queue: &'w QueueState, number: u32| -> Result<&'w Lane> { queue.lane(number) };
    match (step, &extra.dead) {
        (
            Step::Append {
                topic, partition, ..
            },
            _,
        ) => {
            let terms = topic.terms();
            let number = partition.unwrap_or_else(|| topic.route(record, terms.partitions));
            let load = Load::of(loads, topic.partition(number)?, terms);
            load.push(place, record, Later::default());
        }
        (Step::Send { queue, message }, _) => {
            let lane = lane_of(queue, queue.lane_for(message, queue.next_turn()))?;
            let load = Load::of_lane(loads, lane, queue.terms_inside());
            load.push(place, record, Later::of(message, now));
        }
        (Step::Bury { queue, answer, .. }, Some((_, _, Some(target)))) => {
            let lane = lane_of(target, target.lane_like(answer.id.lane, queue, record))?;
            let load = Load::of_lane(loads, lane, target.terms_inside());
            load.push(place, record, Later::default());
        }
        (Step::Ack { .. } | Step::Bury { .. }, _) => {}
    }
    Ok(())
}

/// Messages that were counted in.
struct Counted<'s> {
    queue: &'s QueueState,
    count: u64,
    /// The oldest make room once the commit is in the log: one that is refused
    /// drops nothing.
    over: bool,
}

/// Counts the new messages in, queue by queue, if all of them have room once
/// what is answered is done.
fn reserve<'s>(steps: &'s [Step<'_>], extras: &'s [Extra]) -> Result<Vec<Counted<'s>>> {
    let mut sent: Vec<(&QueueState, u64)> = Vec::new();
    for step in steps {
        if let Step::Send { queue, .. } = step {
            match sent.iter_mut().find(|(other, _)| other.id == queue.id) {
                Some((_, count)) => *count += 1,
                None => sent.push((queue, 1)),
            }
        }
    }
    let mut counted: Vec<Counted<'_>> = Vec::new();
    for (queue, count) in sent {
        let freed = to_u64(steps.iter().filter(|step| step.settles(queue)).count());
        let over = match queue.reserve(count, freed) {
            Ok(Reserved::Fits) => false,
            Ok(Reserved::Over(_)) => true,
            Ok(Reserved::Full(error)) | Err(error) => {
                give_back(&counted);
                return Err(error);
            }
        };
        counted.push(Counted { queue, count, over });
    }
    let buried = extras.iter().filter_map(|extra| extra.dead.as_ref());
    for queue in buried.filter_map(|(_, _, target)| target.as_deref()) {
        queue.lengthen(1);
        counted.push(Counted {
            queue,
            count: 1,
            over: false,
        });
    }
    Ok(counted)
}

fn give_back(counted: &[Counted<'_>]) {
    for counted in counted {
        counted.queue.shorten(counted.count);
    }
}

fn places(loads: &[Load<'_>], appended: &[Appended], steps: usize) -> Vec<Option<(u32, Offset)>> {
    let mut places = vec![None; steps];
    for (load, appended) in loads.iter().zip(appended) {
        for (n, place) in load.places.iter().enumerate() {
            if let Some(at) = places.get_mut(*place) {
                *at = Some((
                    appended.partition,
                    appended.offset.saturating_add(to_u64(n)),
                ));
            }
        }
    }
    places
}
