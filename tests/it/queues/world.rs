//! A run: operations on the queues of an engine over a simulated disk, and the
//! model that follows them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use duolog::clock::{Clock, ManualClock};
use duolog::ids::Offset;
use duolog::io::sim::SimFs;
use duolog::{
    Consumer, ConsumerOptions, DeadReason, Delivery, Durability, Engine, Error, ErrorKind, Filter,
    Message, MessageId, Queue, QueueOptions, Record, SendOptions,
};

use super::model::{Doubt, Fate, HEADER, Key, Known, Life, Model, QueueModel, body, number_of};
use crate::world::{EPOCH_MS, PATH, Setup};

/// One thing that a user of queues does.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create(&'static str, QueueOptions),
    Alter(&'static str, QueueOptions),
    Delete(&'static str),
    Topic(&'static str),
    /// A subscription of a topic, from its start or its end on.
    Subscribe(&'static str, &'static str, bool),
    /// So many records to a topic, in one append.
    Append(&'static str, usize),
    Send(Send),
    Receive(&'static str, usize),
    /// Of what is held of a queue, the oldest so many are answered for.
    Ack(&'static str, usize),
    /// With a delay in milliseconds, or the backoff.
    Nack(&'static str, usize, Option<u64>),
    Reject(&'static str, usize),
    /// Of what is held of the first queue, the oldest two are answered for, one
    /// with an ack and one with a dead letter, and two messages go to the second,
    /// in one transaction.
    Transact(&'static str, &'static str),
    /// Consumers go, and what they hold is ready again.
    Leave,
    Purge(&'static str),
    Move(&'static str, &'static str),
    Redrive(&'static str),
    /// Cancels the oldest message that is delayed.
    Cancel(&'static str),
    Step,
    Sync,
    Checkpoint,
    /// Moves the clock on by milliseconds.
    Advance(u64),
    /// Closes and opens.
    Reopen,
    /// Ends the process without closing, and opens.
    Kill,
}

/// One send.
#[derive(Clone, Debug)]
pub(super) struct Send {
    pub(super) queue: &'static str,
    pub(super) sizes: Vec<usize>,
    pub(super) durability: Durability,
    pub(super) keyed: bool,
    pub(super) priority: u8,
    pub(super) delay_ms: Option<u64>,
    pub(super) ttl_ms: Option<u64>,
    /// Of the first message.
    pub(super) dedup_id: Option<&'static str>,
}

/// A run.
pub(super) struct World {
    pub(super) setup: Setup,
    /// Set where more is sent than the smallest store there can be takes.
    pub(super) large: bool,
    pub(super) disk: SimFs,
    pub(super) clock: Arc<ManualClock>,
    /// `None` before the first operation, and after a close or an open that
    /// failed.
    pub(super) engine: Option<Engine>,
    pub(super) model: Model,
    consumers: BTreeMap<String, Consumer>,
    held: Vec<(Key, Delivery)>,
    /// Steps on disks that a kill left behind.
    steps_before: u64,
    cut_at: Option<u64>,
}

impl World {
    pub(super) fn new(setup: Setup, large: bool) -> Self {
        Self {
            setup,
            large,
            disk: setup.disk(),
            clock: Arc::new(ManualClock::new(EPOCH_MS)),
            engine: None,
            model: Model::default(),
            consumers: BTreeMap::new(),
            held: Vec::new(),
            steps_before: 0,
            cut_at: None,
        }
    }

    /// Goes on with a disk on which this run ended.
    pub(super) fn resume(&self, disk: SimFs) -> Self {
        Self {
            disk,
            clock: Arc::new(ManualClock::new(self.now())),
            model: self.model.clone(),
            ..Self::new(self.setup, self.large)
        }
    }

    /// Cuts the power at a step, counted over kills.
    pub(super) fn cut_power_at(&mut self, step: u64) {
        self.cut_at = Some(step);
        self.disk.cut_power_at(step);
    }

    /// Steps so far, counted over kills.
    pub(super) fn steps(&self) -> u64 {
        self.steps_before + self.disk.steps()
    }

    /// Ends the process, as far as the disk is asked.
    pub(super) fn abandon(&mut self) {
        self.held.clear();
        self.consumers.clear();
        self.engine = None;
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.now().millis()
    }

    fn monotonic(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).expect("small")
    }

    /// Opens the store, if it is not open, and holds it against the model.
    ///
    /// # Errors
    ///
    /// What opening says.
    pub(super) fn ensure_open(&mut self, at: &dyn Display) -> Result<Engine, Error> {
        if let Some(engine) = &self.engine {
            return Ok(engine.clone());
        }
        let mut options = self.setup.options(&self.clock);
        if self.large {
            options = options.wal_file_bytes(1 << 20).wal_bytes_max(8 << 20);
            options = options.tail_bytes_max(4 << 20).group_bytes_max(1 << 20);
        }
        let engine = Engine::open_with(Arc::new(self.disk.clone()), PATH, options)?;
        self.model = self.model.recovered(&engine, self.now(), at)?;
        self.engine = Some(engine.clone());
        Ok(engine)
    }

    /// Holds the engine, if it is open, against the model.
    pub(super) fn check_live(&self, at: &dyn Display) {
        if let Some(engine) = &self.engine {
            let checked = self.model.check_live(engine, self.now(), at);
            checked.unwrap_or_else(|error| panic!("{at}: cannot look: {error:?}"));
        }
    }

    /// Does one thing and tells the model. On an error the model knows what may
    /// have come to pass nevertheless.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub(super) fn run(&mut self, op: &Op, at: &dyn Display) -> Result<(), Error> {
        let engine = self.ensure_open(at)?;
        match op {
            Op::Create(..) | Op::Alter(..) | Op::Delete(_) | Op::Topic(_) | Op::Subscribe(..) => {
                self.administer(&engine, op)
            }
            Op::Append(topic, count) => self.append(&engine, topic, *count),
            Op::Send(send) => self.send(&engine, send),
            Op::Receive(queue, max) => self.receive(&engine, queue, *max, at),
            Op::Ack(queue, count) => self.ack(queue, *count),
            Op::Nack(queue, count, delay) => self.fail(queue, *count, Some(*delay)),
            Op::Reject(queue, count) => self.fail(queue, *count, None),
            Op::Transact(from, to) => self.transact(&engine, from, to),
            Op::Leave => {
                self.leave();
                Ok(())
            }
            Op::Purge(queue) => {
                let all = self.free_in(queue);
                let purged = engine.queue(queue)?.purge();
                let changed = all.iter().map(|key| (key.clone(), None)).collect();
                let purged = self.conclude(&engine.queue(queue)?, changed, purged)?;
                let known = all.len() as u64;
                let right = purged == known || (self.model.ghosts && purged > known);
                assert!(right, "{at}: purged {purged} of {all:?}");
                Ok(())
            }
            Op::Move(from, to) => self.relocate(&engine, from, Some(to), at),
            Op::Redrive(from) => self.relocate(&engine, from, None, at),
            Op::Cancel(queue) => self.cancel(&engine, queue),
            Op::Step => self.step(&engine, at),
            Op::Sync => engine.sync().map(|()| self.model.all_durable()),
            Op::Checkpoint => engine.checkpoint().map(|()| self.model.all_durable()),
            Op::Advance(ms) => {
                self.clock.advance(Duration::from_millis(*ms));
                Ok(())
            }
            Op::Reopen => {
                self.leave();
                self.engine = None;
                let closed = engine.close();
                drop(engine);
                closed?;
                self.model.all_durable();
                self.ensure_open(at).map(drop)
            }
            Op::Kill => {
                self.steps_before += self.disk.steps();
                let left = self.disk.fork();
                self.abandon();
                drop(engine);
                self.disk = left;
                if let Some(cut_at) = self.cut_at {
                    self.disk.cut_power_at(cut_at - self.steps_before);
                }
                self.ensure_open(at).map(drop)
            }
        }
    }

    fn leave(&mut self) {
        self.held.clear();
        self.consumers.clear();
        for known in self.model.messages.values_mut() {
            known.held = None;
        }
    }

    /// Where messages went, if that succeeded; where they may be, if it failed.
    fn conclude<T>(
        &mut self,
        queue: &Queue,
        changed: Vec<(Key, Fate)>,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        let refused = is_refused(&result);
        if refused && changed.len() == 1 {
            return result;
        }
        let durable = queue.options().durability == Durability::Durable && result.is_ok();
        let keys: Vec<_> = changed.iter().map(|(key, _)| key.clone()).collect();
        for (key, fate) in changed {
            self.model.change(&key, fate, durable);
        }
        if refused {
            // It takes several commits: some may have been made.
            self.look(&keys, &"after an error")?;
        }
        result
    }

    /// Looks where messages are that may have gone. Those that did.
    fn look(&mut self, doubtful: &[Key], at: &dyn Display) -> Result<Vec<Key>, Error> {
        let now = self.now();
        match &self.engine {
            Some(engine) if !self.disk.is_off() => self.model.settle(engine, doubtful, now, at),
            _ => Ok(Vec::new()),
        }
    }

    fn administer(&mut self, engine: &Engine, op: &Op) -> Result<(), Error> {
        let make = |options: &QueueOptions, topic: Option<&str>| QueueModel {
            options: options.clone(),
            topic: topic.map(str::to_owned),
        };
        let (result, doubt) = match op {
            Op::Create(name, options) => (
                engine.create_queue(name, options.clone()).map(drop),
                Doubt::Create((*name).to_owned(), make(options, None)),
            ),
            Op::Alter(name, options) => (
                engine.alter_queue(name, options.clone()),
                Doubt::Alter((*name).to_owned(), options.clone()),
            ),
            Op::Delete(name) => {
                let messages = self.model.keys_where(|_, life| life.queue == *name);
                let doubt = Doubt::Delete((*name).to_owned(), messages);
                (engine.delete_queue(name), doubt)
            }
            Op::Topic(name) => (
                engine.create_topic(name, crate::world::small()).map(drop),
                Doubt::Topic((*name).to_owned()),
            ),
            Op::Subscribe(name, topic, from_start) => {
                let options = QueueOptions::default()
                    .dead_letter("dead")
                    .max_deliveries(2);
                let answer =
                    engine.subscribe(name, topic, Filter::default(), options.clone(), *from_start);
                let queue = make(&options, Some(topic));
                (answer.map(drop), Doubt::Create((*name).to_owned(), queue))
            }
            other => unreachable!("{other:?} changes no queue"),
        };
        if is_refused(&result) {
            return result;
        }
        let done = result.is_ok();
        self.admit(op, &doubt, done);
        if !done {
            self.model.doubts.push(doubt);
        }
        result
    }

    /// What a change of queues does to messages, and to the list of queues.
    fn admit(&mut self, op: &Op, doubt: &Doubt, done: bool) {
        match doubt {
            Doubt::Delete(name, messages) => {
                for key in messages {
                    self.model.change(key, None, done);
                }
                if done {
                    self.model.queues.remove(name);
                    self.consumers.remove(name);
                    let model = &self.model;
                    self.held
                        .retain(|(key, _)| model.messages[key].now().is_some());
                }
            }
            Doubt::Create(name, queue) => {
                if queue.topic.is_some() {
                    self.model.views.insert(name.clone());
                }
                if let Op::Subscribe(_, topic, true) = op {
                    let records = self.model.topics[*topic].clone();
                    for number in records {
                        self.view(name, number, 0, done);
                    }
                }
                if done {
                    self.model.queues.insert(name.clone(), queue.clone());
                }
            }
            Doubt::Alter(name, options) if done => {
                let queue = self.model.queues.get_mut(name).expect("it is there");
                queue.options = options.clone();
            }
            Doubt::Topic(name) if done => {
                self.model.topics.insert(name.clone(), Vec::new());
            }
            Doubt::Alter(..) | Doubt::Topic(_) => {}
        }
    }

    /// A record of a topic, as a subscription sees it.
    fn view(&mut self, queue: &str, number: u64, group: u64, done: bool) {
        let life = Life {
            queue: queue.to_owned(),
            failures: 0,
            due: None,
            expires: None,
            death: None,
            logged: true,
        };
        let known = Known {
            size: 0,
            key: None,
            group,
            fates: if done {
                vec![Some(life)]
            } else {
                vec![None, Some(life)]
            },
            held: None,
        };
        self.model
            .messages
            .insert((queue.to_owned(), number), known);
    }

    fn append(&mut self, engine: &Engine, topic: &str, count: usize) -> Result<(), Error> {
        let first = self.model.next_number;
        let numbers: Vec<u64> = (first..).take(count).collect();
        let bodies: Vec<_> = numbers
            .iter()
            .map(|n| (n, body(*n, 0), n.to_le_bytes()))
            .collect();
        let records: Vec<_> = bodies
            .iter()
            .map(|(number, body, header)| {
                let record = Record::new(body);
                if number.is_multiple_of(3) {
                    return record.header(HEADER, header);
                }
                record
            })
            .collect();
        let result = engine
            .topic(topic)?
            .append_batch(&records, &duolog::AppendOptions::default());
        self.model.next_number += count as u64;
        self.model.next_group += 1;
        if is_refused(&result) {
            return result.map(drop);
        }
        let (group, done) = (self.model.next_group, result.is_ok());
        let views = self.model.queues.iter();
        let views: Vec<String> = views
            .filter(|(_, queue)| queue.topic.as_deref() == Some(topic))
            .map(|(name, _)| name.clone())
            .collect();
        for number in numbers {
            if done {
                let records = self.model.topics.get_mut(topic);
                records.expect("it is there").push(number);
            }
            for view in &views {
                self.view(view, number, group, done);
            }
        }
        result.map(drop)
    }

    #[expect(clippy::too_many_lines, reason = "one send, and what may come of it")]
    fn send(&mut self, engine: &Engine, send: &Send) -> Result<(), Error> {
        self.model.ghosts |= send.durability == Durability::Transient;
        let first = self.model.next_number;
        let ms = |ms: u64| Duration::from_millis(ms);
        let numbers: Vec<u64> = (first..).take(send.sizes.len()).collect();
        let key = |n: u64| send.keyed.then(|| format!("key-{}", n % 3));
        let parts: Vec<_> = numbers
            .iter()
            .zip(&send.sizes)
            .map(|(n, size)| (*n, body(*n, *size), n.to_le_bytes(), key(*n)))
            .collect();
        let messages: Vec<Message<'_>> = parts
            .iter()
            .map(|(number, body, header, key)| {
                let mut message = Message::new(body).priority(send.priority);
                if number.is_multiple_of(3) {
                    message = message.header(HEADER, header);
                }
                if let Some(key) = key {
                    message = message.order_key(key);
                }
                if let Some(delay) = send.delay_ms {
                    message = message.delay(ms(delay));
                }
                if let Some(ttl) = send.ttl_ms {
                    message = message.ttl(ms(ttl));
                }
                match send.dedup_id.filter(|_| *number == first) {
                    Some(id) => message.dedup_id(id),
                    None => message,
                }
            })
            .collect();
        let options = SendOptions::default().durability(send.durability);
        let answer = engine.queue(send.queue)?.send_batch(&messages, &options);
        self.model.next_number += numbers.len() as u64;
        self.model.next_group += 1;
        if is_refused(&answer) {
            return answer.map(drop);
        }
        let mut stored = numbers.clone();
        if let Some(dedup_id) = send.dedup_id {
            let id = answer.as_ref().map_or(NOWHERE, |ids| ids[0]);
            let entry = (send.queue.to_owned(), dedup_id);
            match self.model.seen.entry(entry) {
                Entry::Vacant(free) => drop(free.insert((first, id))),
                Entry::Occupied(known) => {
                    let (number, first_id) = *known.get();
                    let same = answer.is_err() || first_id == NOWHERE || id == first_id;
                    assert!(
                        same,
                        "{dedup_id} has {id}, and message {number} had {first_id}"
                    );
                    stored.remove(0);
                }
            }
        }
        let now = self.now();
        let at = |ms: Option<u64>| ms.map(|ms| now + i64::try_from(ms).expect("small"));
        for (number, size) in numbers.into_iter().zip(&send.sizes) {
            if !stored.contains(&number) {
                continue;
            }
            let life = Life {
                queue: send.queue.to_owned(),
                failures: 0,
                due: at(send.delay_ms),
                expires: at(send.ttl_ms),
                death: None,
                logged: send.durability != Durability::Transient,
            };
            let durable = send.durability == Durability::Durable && answer.is_ok();
            let known = Known {
                size: *size,
                key: key(number),
                group: self.model.next_group,
                fates: if durable {
                    vec![Some(life)]
                } else {
                    vec![None, Some(life)]
                },
                held: None,
            };
            self.model.messages.insert((String::new(), number), known);
        }
        answer.map(drop)
    }

    fn receive(
        &mut self,
        engine: &Engine,
        name: &str,
        max: usize,
        at: &dyn Display,
    ) -> Result<(), Error> {
        let queue = engine.queue(name)?;
        if !self.consumers.contains_key(name) {
            let options = ConsumerOptions::default().unlimited_prefetch();
            self.consumers
                .insert(name.to_owned(), queue.consumer(options)?);
        }
        let expired = self.expire(|life| life.queue == name && life.due.is_none());
        let (now, until) = (self.now(), self.monotonic() + lease_ms(&queue));
        let received = self.consumers[name].receive(max, Duration::ZERO);
        let received = match received {
            Ok(received) => received,
            Err(error) => {
                // What had expired may have been buried before.
                self.look(&expired, at)?;
                return Err(error);
            }
        };
        for delivery in received {
            let origin = delivery.header("duolog-origin");
            let origin = origin.map(|it| String::from_utf8_lossy(it).into_owned());
            let number = number_of(delivery.body(), at);
            let key = self.model.key(name, origin.as_deref(), number);
            let known = self.model.messages.get_mut(&key);
            let known = known.unwrap_or_else(|| panic!("{at}: nobody sent {key:?}"));
            assert_eq!(
                delivery.body()[..],
                body(number, known.size),
                "{at}: {key:?}"
            );
            let life = known.now().as_ref();
            let life = life.unwrap_or_else(|| panic!("{at}: {key:?} is done, and comes again"));
            assert!(
                life.queue == name && known.held.is_none() && life.due.is_none_or(|due| due <= now),
                "{at}: {key:?} came from {name} at {now}; known is {known:?}"
            );
            assert_eq!(
                delivery.deliveries(),
                life.failures + 1,
                "{at}: {key:?}: {known:?}"
            );
            known.held = Some(until);
            let order_key = known.key.clone();
            self.check_order(name, &key, order_key, at);
            self.held.push((key, delivery));
        }
        self.look(&expired, at).map(drop)
    }

    /// Of an order key, one message at most is under way.
    fn check_order(&self, queue: &str, key: &Key, order_key: Option<String>, at: &dyn Display) {
        let Some(order_key) = order_key else {
            return;
        };
        for (other, _) in &self.held {
            let known = &self.model.messages[other];
            let same = known.key.as_ref() == Some(&order_key) && known.held.is_some();
            let here = known.now().as_ref().is_some_and(|it| it.queue == queue);
            assert!(
                !(same && here),
                "{at}: {key:?} came while {other:?} is in flight"
            );
        }
    }

    fn ack(&mut self, queue: &str, count: usize) -> Result<(), Error> {
        let (keys, deliveries) = self.take_held(queue, count);
        let Some(consumer) = self.consumers.get(queue).filter(|_| !keys.is_empty()) else {
            return Ok(());
        };
        let result = consumer.ack_all(&deliveries);
        let result = result.and_then(|each| each.into_iter().collect::<Result<(), _>>());
        let engine = self.engine.clone().expect("it is open");
        let changed: Vec<_> = keys.iter().map(|key| (key.clone(), None)).collect();
        let result = self.conclude(&engine.queue(queue)?, changed, result);
        self.answered(keys, deliveries, &result);
        result
    }

    /// What is held of a queue, the oldest `count`.
    fn take_held(&mut self, queue: &str, count: usize) -> (Vec<Key>, Vec<Delivery>) {
        let model = &self.model;
        let is_here = |key: &Key| {
            let life = model.messages[key].now().as_ref();
            life.is_some_and(|life| life.queue == queue)
        };
        let (mut taken, mut kept) = (Vec::new(), Vec::new());
        for (key, delivery) in self.held.drain(..) {
            let some = taken.len() < count && is_here(&key);
            if some { &mut taken } else { &mut kept }.push((key, delivery));
        }
        self.held = kept;
        taken.into_iter().unzip()
    }

    fn answered(&mut self, keys: Vec<Key>, deliveries: Vec<Delivery>, result: &Result<(), Error>) {
        if result.is_ok() {
            for key in &keys {
                self.model.messages.get_mut(key).expect("known").held = None;
            }
        } else {
            // It may be tried again, where it was not done.
            let answers = keys.into_iter().zip(deliveries);
            let model = &self.model;
            let open = answers.filter(|(key, _)| model.messages[key].now().is_some());
            self.held.extend(open);
        }
    }

    /// Nacks, with a delay if given; or rejects.
    #[expect(
        clippy::option_option,
        reason = "no nack, one by the backoff, or one with a delay"
    )]
    fn fail(&mut self, name: &str, count: usize, nack: Option<Option<u64>>) -> Result<(), Error> {
        let (keys, deliveries) = self.take_held(name, count);
        let engine = self.engine.clone().expect("it is open");
        let queue = engine.queue(name)?;
        let mut failed = Ok(());
        for (key, delivery) in keys.into_iter().zip(deliveries) {
            let fate = match nack {
                Some(delay) => self.failed(&key, &queue, delay),
                None => self.dead(&key, &queue, DeadReason::Rejected),
            };
            let result = match nack {
                Some(delay) => delivery.nack_with(delay.map(Duration::from_millis), Some("no")),
                None => delivery.dead_letter(Some("no")),
            };
            let result = self.conclude(&queue, vec![(key.clone(), fate)], result);
            self.answered(vec![key], vec![delivery], &result);
            failed = failed.and(result);
        }
        failed
    }

    /// What becomes of a message that failed once more.
    fn failed(&self, key: &Key, queue: &Queue, delay: Option<u64>) -> Fate {
        let options = queue.options();
        let life = self.model.messages[key].now().clone()?;
        let failures = life.failures + 1;
        if options.max_deliveries.is_some_and(|most| failures >= most) {
            return self.dead(key, queue, DeadReason::MaxDeliveries);
        }
        let wait = delay.map(Duration::from_millis);
        let wait = wait.unwrap_or_else(|| options.backoff.delay(failures, 0.0));
        let wait = i64::try_from(wait.as_millis()).expect("small");
        let due = (wait > 0).then(|| self.now() + wait);
        Some(Life {
            failures,
            due,
            ..life
        })
    }

    /// What becomes of a message that dies.
    fn dead(&self, key: &Key, queue: &Queue, reason: DeadReason) -> Fate {
        let life = self.model.messages[key].now().clone()?;
        let delivered = life.failures + u32::from(reason != DeadReason::Expired);
        Some(Life {
            queue: queue.options().dead_letter?,
            failures: 0,
            due: None,
            expires: None,
            death: Some((reason, delivered)),
            logged: true,
        })
    }

    fn transact(&mut self, engine: &Engine, from: &str, to: &str) -> Result<(), Error> {
        let (keys, deliveries) = self.take_held(from, 2);
        let (source, target) = (engine.queue(from)?, engine.queue(to)?);
        let first = self.model.next_number;
        self.model.next_number += 2;
        let bodies = [body(first, 40), body(first + 1, 50)];
        let headers = [first, first + 1].map(u64::to_le_bytes);
        let mut transaction = engine.transaction();
        let mut tied = Vec::new();
        for (n, (key, delivery)) in keys.iter().zip(&deliveries).enumerate() {
            let fate = if n == 0 {
                transaction.ack(delivery);
                None
            } else {
                transaction.dead_letter(delivery, Some("no"));
                self.dead(key, &source, DeadReason::Rejected)
            };
            tied.push((key.clone(), fate));
        }
        for (n, body) in (0..).zip(&bodies) {
            let message = Message::new(body);
            let message = if (first + n).is_multiple_of(3) {
                message.header(HEADER, &headers[usize::from(n > 0)])
            } else {
                message
            };
            transaction.send(&target, message);
        }
        let result = transaction.commit().map(drop);
        drop(transaction);
        if is_refused(&result) {
            self.held.extend(keys.into_iter().zip(deliveries));
            return result;
        }
        for (number, size) in [(first, 40), (first + 1, 50)] {
            let life = Life {
                queue: to.to_owned(),
                failures: 0,
                due: None,
                expires: None,
                death: None,
                logged: true,
            };
            let known = Known {
                size,
                key: None,
                group: number,
                fates: vec![None],
                held: None,
            };
            let key = (String::new(), number);
            self.model.messages.insert(key.clone(), known);
            tied.push((key, Some(life)));
        }
        let tie = tied.iter().map(|(key, _)| key.clone()).collect();
        for (key, fate) in tied {
            self.model.change(&key, fate, result.is_ok());
        }
        if result.is_err() {
            self.model.ties.push(tie);
        }
        self.answered(keys, deliveries, &result);
        result
    }

    fn free_in(&self, queue: &str) -> Vec<Key> {
        let free = |known: &Known, life: &Life| life.queue == queue && known.held.is_none();
        self.model.keys_where(free)
    }

    /// To another queue, or back to where each died.
    fn relocate(
        &mut self,
        engine: &Engine,
        from: &str,
        to: Option<&str>,
        at: &dyn Display,
    ) -> Result<(), Error> {
        let queue = engine.queue(from)?;
        let mut died = BTreeMap::new();
        if to.is_none() {
            for message in queue.browse(None, usize::MAX)? {
                let death = message.death.map(|death| death.queue);
                died.extend(death.map(|queue| (number_of(&message.body, at), queue)));
            }
        }
        let target =
            |key: &Key| to.map_or_else(|| died.get(&key.1).cloned(), |to| Some(to.to_owned()));
        let free = self.free_in(from).into_iter();
        let origins: BTreeMap<Key, String> = free
            .filter_map(|key| target(&key).map(|to| (key, to)))
            .collect();
        let moved = match to {
            Some(to) => queue.move_to(&engine.queue(to)?, u64::MAX, |_| true),
            None => queue.redrive(u64::MAX, |_| true, None),
        };
        let fate = |key: &Key, to: &String| {
            let life = self.model.messages[key].now().clone();
            life.map(|life| Life {
                queue: to.clone(),
                failures: 0,
                due: None,
                expires: life.expires,
                death: None,
                logged: true,
            })
        };
        let changed: Vec<_> = origins
            .iter()
            .map(|(key, to)| (key.clone(), fate(key, to)))
            .collect();
        let moved = self.conclude(&queue, changed, moved)?;
        assert_eq!(moved, origins.len() as u64, "{at}: moved of {origins:?}");
        Ok(())
    }

    fn cancel(&mut self, engine: &Engine, name: &str) -> Result<(), Error> {
        let queue = engine.queue(name)?;
        let delayed = self.model.keys_where(|known, life| {
            life.queue == name && known.held.is_none() && life.due.is_some()
        });
        let Some(key) = delayed.into_iter().next() else {
            return Ok(());
        };
        let found = queue.browse_where(None, 1, |it| it.body[..8] == key.1.to_le_bytes())?;
        let cancelled = queue.cancel(found[0].id);
        self.conclude(&queue, vec![(key, None)], cancelled)
    }

    /// What expired by now goes, where `wanted` says so.
    fn expire(&mut self, wanted: impl Fn(&Life) -> bool) -> Vec<Key> {
        let now = self.now();
        let old = |life: &Life| life.expires.is_some_and(|at| at <= now);
        let expired = self
            .model
            .keys_where(|known, life| known.held.is_none() && old(life) && wanted(life));
        let engine = self.engine.clone().expect("it is open");
        for key in &expired {
            let name = self.model.messages[key]
                .now()
                .as_ref()
                .map(|it| it.queue.clone());
            let queue = engine
                .queue(&name.expect("it is somewhere"))
                .expect("it is there");
            let fate = self.dead(key, &queue, DeadReason::Expired);
            self.model.change(key, fate, false);
        }
        expired
    }

    fn step(&mut self, engine: &Engine, at: &dyn Display) -> Result<(), Error> {
        // In the order in which the engine does it.
        let mut changed = self.expire(|_| true);
        let now = self.monotonic();
        let ended = self
            .model
            .keys_where(|known, _| known.held.is_some_and(|until| until <= now));
        for key in ended {
            let name = self.model.messages[&key]
                .now()
                .as_ref()
                .map(|it| it.queue.clone());
            let queue = engine.queue(&name.expect("it is somewhere"))?;
            let fate = self.failed(&key, &queue, None);
            self.model.change(&key, fate, false);
            self.held.retain(|(held, _)| *held != key);
            changed.push(key);
        }
        let stepped = engine.run_pending();
        if stepped.is_ok() || is_refused(&stepped) {
            for key in self.look(&changed, at)? {
                self.model.messages.get_mut(&key).expect("known").held = None;
            }
        }
        stepped.map(drop)
    }
}

/// Where a message is that was sent in vain.
const NOWHERE: MessageId = MessageId {
    lane: u32::MAX,
    offset: Offset::ZERO,
};

/// True for an error after which the engine is unchanged. After others it is
/// not known.
fn is_refused<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(error) if error.kind() != ErrorKind::Poisoned)
}

fn lease_ms(queue: &Queue) -> u64 {
    u64::try_from(queue.options().lease.as_millis()).expect("small")
}

/// Options of a queue whose segments are small.
pub(super) fn small() -> QueueOptions {
    QueueOptions::default()
        .priority_max(1)
        .segment_bytes_max(4 << 10)
}

impl Default for Send {
    fn default() -> Self {
        Self {
            queue: "jobs",
            sizes: vec![10],
            durability: Durability::Durable,
            keyed: false,
            priority: 0,
            delay_ms: None,
            ttl_ms: None,
            dedup_id: None,
        }
    }
}
