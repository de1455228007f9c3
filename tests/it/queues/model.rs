//! The reference model: for every message, where it is, and where a crash may
//! find it instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use duolog::{Browsed, DeadReason, Engine, Error, MessageId, MessageState, QueueOptions};

/// Header that some messages carry: their number.
pub(super) const HEADER: &str = "n";

/// A message: its number, and the subscription that it is seen by, if it is a
/// record of a topic. Empty for messages that were sent to a queue.
pub(super) type Key = (String, u64);

/// A message that is somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) queue: String,
    pub(super) failures: u32,
    /// Not to be delivered before, in milliseconds.
    pub(super) due: Option<i64>,
    pub(super) expires: Option<i64>,
    /// Why it died, and how often it had been delivered by then.
    pub(super) death: Option<(DeadReason, u32)>,
    /// False while it is in memory only.
    pub(super) logged: bool,
}

/// Where a message is; `None` if it is done, or was never accepted.
pub(super) type Fate = Option<Life>;

/// What is known of a message.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) size: usize,
    pub(super) key: Option<String>,
    /// The send that it came with: all of it is there, or nothing.
    pub(super) group: u64,
    /// Where a crash may find it; the last is where it is now.
    pub(super) fates: Vec<Fate>,
    /// Monotonic time in milliseconds at which its lease ends, if it is in flight.
    pub(super) held: Option<u64>,
}

impl Known {
    pub(super) fn now(&self) -> &Fate {
        self.fates.last().expect("there is always one")
    }
}

/// A queue that there is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QueueModel {
    pub(super) options: QueueOptions,
    /// The topic of a subscription.
    pub(super) topic: Option<String>,
}

/// A change of a queue that was asked for, and not answered with success.
#[derive(Clone, Debug)]
pub(super) enum Doubt {
    Create(String, QueueModel),
    Alter(String, QueueOptions),
    /// And the messages that went with it.
    Delete(String, Vec<Key>),
    Topic(String),
}

/// What the engine was asked, and what it answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) queues: BTreeMap<String, QueueModel>,
    pub(super) topics: BTreeMap<String, Vec<u64>>,
    /// Names of subscriptions, of those that were deleted, too.
    pub(super) views: BTreeSet<String>,
    /// Set once something was in memory only: it counts as a message after a
    /// crash, until somebody comes to where it was.
    pub(super) ghosts: bool,
    pub(super) doubts: Vec<Doubt>,
    pub(super) messages: BTreeMap<Key, Known>,
    /// Messages that a transaction changed together: it has happened to all, or to
    /// none.
    pub(super) ties: Vec<Vec<Key>>,
    /// Deduplication ids by queue, and the message that has each.
    pub(super) seen: BTreeMap<(String, &'static str), (u64, MessageId)>,
    pub(super) next_number: u64,
    pub(super) next_group: u64,
}

/// A message as the engine shows it.
struct Seen {
    key: Key,
    life: Life,
    in_flight: bool,
}

/// The body of message `number`.
pub(super) fn body(number: u64, size: usize) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.extend((0..size).map(|n| number.wrapping_mul(31).to_le_bytes()[n % 8]));
    body
}

/// The number in a body; nothing else is checked.
#[track_caller]
pub(super) fn number_of(body: &[u8], at: &dyn Display) -> u64 {
    let head = body.first_chunk::<8>();
    u64::from_le_bytes(*head.unwrap_or_else(|| panic!("{at}: a body of {} bytes", body.len())))
}

impl Model {
    /// The key of a message of `queue` that died in, or was moved from, `origin`.
    pub(super) fn key(&self, queue: &str, origin: Option<&str>, number: u64) -> Key {
        let view = |name: &str| self.views.contains(name);
        let origin = origin.and_then(|origin| origin.split('/').next());
        let seen_by = [Some(queue), origin]
            .into_iter()
            .flatten()
            .find(|it| view(it));
        (seen_by.unwrap_or_default().to_owned(), number)
    }

    /// Messages whose present place `wanted` chooses.
    pub(super) fn keys_where(&self, wanted: impl Fn(&Known, &Life) -> bool) -> Vec<Key> {
        let all = self.messages.iter();
        let there =
            all.filter(|(_, known)| known.now().as_ref().is_some_and(|it| wanted(known, it)));
        there.map(|(key, _)| key.clone()).collect()
    }

    /// A message is somewhere else now. A crash may find it where it was, unless
    /// the change is durable.
    pub(super) fn change(&mut self, key: &Key, to: Fate, durable: bool) {
        let known = self.messages.get_mut(key).expect("it is known");
        if durable {
            known.fates.clear();
        }
        known.fates.push(to);
    }

    /// All that is in the log is durable.
    pub(super) fn all_durable(&mut self) {
        for known in self.messages.values_mut() {
            known.fates.drain(..known.fates.len() - 1);
        }
    }

    /// What is in memory only is gone, and so are all leases.
    pub(super) fn restarted(&mut self) {
        for known in self.messages.values_mut() {
            known.held = None;
            for fate in &mut known.fates {
                if fate.as_ref().is_some_and(|life| !life.logged) {
                    *fate = None;
                }
            }
        }
    }

    fn observe(&self, engine: &Engine, at: &dyn Display) -> Result<Vec<Seen>, Error> {
        let mut all = Vec::new();
        for info in engine.queues() {
            let queue = engine.queue(&info.name)?;
            let browsed = queue.browse(None, usize::MAX)?;
            let mut last = None;
            for message in &browsed {
                assert!(
                    last < Some(message.id),
                    "{at}: {} is out of order",
                    message.id
                );
                last = Some(message.id);
                all.push(self.seen(&info.name, message, at));
            }
            let stats = queue.stats()?;
            let there = u64::try_from(browsed.len()).expect("small");
            let counted = stats.ready + stats.delayed + stats.in_flight;
            assert!(
                there == counted || (self.ghosts && there < counted),
                "{at}: {} has {there} messages, and {stats:?}",
                info.name
            );
        }
        Ok(all)
    }

    fn seen(&self, queue: &str, message: &Browsed, at: &dyn Display) -> Seen {
        let number = number_of(&message.body, at);
        let text = |name: &str| {
            let value = message.header(name);
            value.map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let key = self.key(queue, text("duolog-origin").as_deref(), number);
        let known = self.messages.get(&key);
        let known = known.unwrap_or_else(|| panic!("{at}: nobody sent {message:?}"));
        assert_eq!(
            message.body,
            body(number, known.size),
            "{at}: body of {key:?}"
        );
        let order_key = message.order_key.as_deref();
        assert_eq!(
            order_key,
            known.key.as_ref().map(String::as_bytes),
            "{at}: key of {key:?}"
        );
        let header = message.header(HEADER).map(|it| number_of(it, at));
        assert_eq!(
            header,
            number.is_multiple_of(3).then_some(number),
            "{at}: header of {key:?}"
        );
        let death = message.death.as_ref();
        Seen {
            in_flight: message.state == MessageState::InFlight,
            life: Life {
                queue: queue.to_owned(),
                failures: message.failures,
                due: match message.state {
                    MessageState::Delayed(due) => Some(due.millis()),
                    _ => None,
                },
                expires: text("duolog-expires").map(|it| it.parse().expect("a number")),
                death: death.map(|death| (death.reason, death.deliveries)),
                logged: true,
            },
            key,
        }
    }

    /// What the engine shows, by message: none is there twice.
    fn observe_once(
        &self,
        engine: &Engine,
        at: &dyn Display,
    ) -> Result<BTreeMap<Key, Seen>, Error> {
        let mut once = BTreeMap::new();
        for seen in self.observe(engine, at)? {
            let (key, here) = (seen.key.clone(), seen.life.queue.clone());
            if let Some(before) = once.insert(seen.key.clone(), seen) {
                panic!("{at}: {key:?} is in {} and in {here}", before.life.queue);
            }
        }
        Ok(once)
    }

    /// Holds a running engine against the model: exactly what was accepted.
    ///
    /// # Errors
    ///
    /// What reading says.
    pub(super) fn check_live(
        &self,
        engine: &Engine,
        now: i64,
        at: &dyn Display,
    ) -> Result<(), Error> {
        let names: Vec<_> = engine.queues().into_iter().map(|info| info.name).collect();
        let known: Vec<_> = self.queues.keys().cloned().collect();
        assert_eq!(names, known, "{at}: queues");
        let seen = self.observe_once(engine, at)?;
        for (key, known) in &self.messages {
            let found = seen.get(key);
            let there = found.map(|seen| &seen.life);
            assert!(
                is_same(known.now().as_ref(), there, now),
                "{at}: {key:?} is {there:?}, at {now}; known is {known:?}"
            );
            if let Some(found) = found {
                assert_eq!(
                    found.in_flight,
                    known.held.is_some(),
                    "{at}: {key:?}: {known:?}"
                );
            }
        }
        Ok(())
    }

    /// Looks where messages are of which that is not known, among `doubtful`:
    /// the last of their places, or the one before. Returns those that are at the
    /// last.
    pub(super) fn settle(
        &mut self,
        engine: &Engine,
        doubtful: &[Key],
        now: i64,
        at: &dyn Display,
    ) -> Result<Vec<Key>, Error> {
        if doubtful.is_empty() {
            return Ok(Vec::new());
        }
        let seen = self.observe_once(engine, at)?;
        let mut went = Vec::new();
        for key in doubtful {
            let there = seen.get(key).map(|seen| &seen.life);
            let known = self.messages.get_mut(key).expect("it is known");
            if is_same(known.now().as_ref(), there, now) {
                went.push(key.clone());
                continue;
            }
            known.fates.pop();
            assert!(
                !known.fates.is_empty() && is_same(known.now().as_ref(), there, now),
                "{at}: {key:?} is {there:?}; known is {known:?}"
            );
        }
        Ok(went)
    }

    /// Holds an engine that was just opened against the model. Returns what is
    /// there from now on: all of it durable.
    ///
    /// # Errors
    ///
    /// What reading says; the caller knows whether it may.
    pub(super) fn recovered(
        &self,
        engine: &Engine,
        now: i64,
        at: &dyn Display,
    ) -> Result<Self, Error> {
        let mut next = self.clone();
        next.restarted();
        next.take_queues(engine, at);
        let seen = next.observe_once(engine, at)?;
        next.check_ties(&seen, now, at);
        let mut groups: BTreeMap<u64, BTreeSet<bool>> = BTreeMap::new();
        let mut never = BTreeSet::new();
        for (key, known) in &mut next.messages {
            let there = seen.get(key).map(|seen| &seen.life);
            let mut fates = known.fates.iter().rev();
            let found = fates.find(|fate| is_same(fate.as_ref(), there, now));
            let Some(found) = found.cloned() else {
                panic!("{at}: {key:?} is {there:?}, at {now}; known is {known:?}");
            };
            // Of a message that something else was done with, later, it is not
            // known whether it was ever there.
            if let [None, Some(life)] = &known.fates[..]
                && life.death.is_none()
            {
                groups
                    .entry(known.group)
                    .or_default()
                    .insert(found.is_some());
                if found.is_none() {
                    never.insert(key.1);
                }
            }
            known.fates = vec![found];
        }
        for (group, there) in groups {
            assert!(
                there.len() == 1,
                "{at}: of send {group} some are there and some are not"
            );
        }
        // What was never there keeps no other out that has its id.
        next.seen.retain(|_, (number, _)| !never.contains(number));
        next.doubts.clear();
        next.ties.clear();
        Ok(next)
    }

    fn check_ties(&self, seen: &BTreeMap<Key, Seen>, now: i64, at: &dyn Display) {
        for tie in &self.ties {
            let happened: BTreeSet<bool> = tie
                .iter()
                .map(|key| {
                    let there = seen.get(key).map(|seen| &seen.life);
                    is_same(self.messages[key].now().as_ref(), there, now)
                })
                .collect();
            let whole = happened.len() == 1;
            assert!(
                whole,
                "{at}: a transaction happened to some of {tie:?} only"
            );
        }
    }

    /// Takes over which queues there are, which must be those that were made.
    fn take_queues(&mut self, engine: &Engine, at: &dyn Display) {
        let found: BTreeMap<String, QueueModel> = engine
            .queues()
            .into_iter()
            .map(|info| {
                let topic = info.subscription.map(|(topic, _)| topic);
                let options = info.options;
                (info.name, QueueModel { options, topic })
            })
            .collect();
        for doubt in std::mem::take(&mut self.doubts) {
            match doubt {
                Doubt::Create(name, queue) if found.contains_key(&name) => {
                    self.queues.entry(name).or_insert(queue);
                }
                Doubt::Alter(name, options) => {
                    let queue = self.queues.get_mut(&name).expect("altered what is there");
                    if found.get(&name).is_some_and(|it| it.options == options) {
                        queue.options = options;
                    }
                }
                Doubt::Delete(name, messages) if found.contains_key(&name) => {
                    // All of it is there: its messages were not deleted either.
                    for key in &messages {
                        let known = self.messages.get_mut(key).expect("it is known");
                        known.fates.pop();
                    }
                }
                Doubt::Delete(name, _) => {
                    self.queues.remove(&name);
                }
                Doubt::Topic(name) if engine.topic(&name).is_ok() => {
                    self.topics.entry(name).or_default();
                }
                Doubt::Create(..) | Doubt::Topic(_) => {}
            }
        }
        assert_eq!(found, self.queues, "{at}: queues");
    }
}

/// True if a message that is known to be here was seen there.
fn is_same(known: Option<&Life>, seen: Option<&Life>, now: i64) -> bool {
    let (known, seen) = match (known, seen) {
        (None, None) => return true,
        (Some(known), Some(seen)) => (known, seen),
        _ => return false,
    };
    // What is due may have been woken, or not yet.
    let waits = |life: &Life| life.due.filter(|due| *due > now);
    known.queue == seen.queue
        && known.failures == seen.failures
        && known.death == seen.death
        && waits(known) == waits(seen)
}
