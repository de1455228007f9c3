//! `duolog queue browse` and `peek`: messages, without taking them.

use std::fmt::Write as _;

use clap::ValueEnum;
use duolog::{Browsed, MessageId, MessageState};

use super::select::SelectFlags;
use super::show::time;
use crate::failure::{Done, Failure};
use crate::json::{JsonMessage, priority, state_name};
use crate::output::{self, Column, Stdout};
use crate::store::StoreArgs;
use crate::units;

/// Characters of a body in a table.
const BODY_CHARS_MAX: usize = 60;

/// Messages that are read at once: what is printed needs no more memory.
const PAGE: usize = 256;

/// Show messages that are not done, without taking them.
///
/// The lowest priority first, and the oldest first within each; a priority and a
/// shard together are a lane, and an id is the lane and the number in it.
#[derive(Debug, clap::Args)]
pub(super) struct Browse {
    /// Name of the queue.
    name: String,
    #[command(flatten)]
    store: StoreArgs,
    /// Begin with this id.
    #[arg(long, value_name = "ID")]
    from: Option<MessageId>,
    /// Most messages to show.
    #[arg(short = 'n', long, value_name = "N", default_value = "100")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    max: u64,
    /// Only messages that are this at present.
    #[arg(long, value_enum)]
    state: Option<State>,
    #[command(flatten)]
    select: SelectFlags,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    /// A consumer could get it, or it waits for its order key.
    Ready,
    /// It waits for its time.
    Delayed,
}

impl State {
    fn is(self, state: MessageState) -> bool {
        match self {
            Self::Ready => matches!(state, MessageState::Ready),
            Self::Delayed => matches!(state, MessageState::Delayed(_)),
        }
    }
}

/// Show one message in full.
#[derive(Debug, clap::Args)]
pub(super) struct Peek {
    /// Name of the queue.
    name: String,
    /// Its id, as `queue browse` shows it.
    id: MessageId,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object.
    #[arg(long, conflicts_with = "body")]
    json: bool,
    /// Print the body and nothing else, byte for byte.
    #[arg(long)]
    body: bool,
}

/// Shows messages.
pub(super) fn browse(args: &Browse) -> Result<Done, Failure> {
    let engine = args.store.open_to_read()?;
    let queue = engine.queue(&args.name)?;
    let shards = queue.options().shards;
    let selection = args.select.selection();
    let mut out = Stdout::lock();
    let mut rows = Vec::new();
    let (mut from, mut left) = (args.from, args.max);
    let more = loop {
        // One more than is shown: where to go on.
        let page = usize::try_from(left).unwrap_or(PAGE).min(PAGE);
        let mut found = queue.browse_where(from, page + 1, |message| {
            args.state.is_none_or(|state| state.is(message.state)) && selection.wants(message)
        })?;
        let next = (found.len() > page).then(|| found.pop()).flatten();
        for message in &found {
            left -= 1;
            if args.json {
                out.json(&JsonMessage::browsed(message, shards))?;
            } else {
                rows.push(message_row(message));
            }
        }
        from = next.map(|message| message.id);
        if from.is_none() || left == 0 {
            break from;
        }
    };
    if !args.json {
        out.text(&message_table(rows))?;
    }
    out.flush()?;
    engine.close()?;
    if let Some(next) = more {
        output::note(&format!("there are more: --from {next}"));
    }
    Ok(Done::Well)
}

fn message_row(message: &Browsed) -> Vec<String> {
    let death = message.death.as_ref();
    vec![
        message.id.to_string(),
        match message.state {
            MessageState::Delayed(until) => format!("delayed until {}", time(until)),
            state => state_name(state).to_owned(),
        },
        time(message.sent),
        message.failures.to_string(),
        death.map_or_else(String::new, |death| death.queue.clone()),
        death.map_or_else(String::new, |death| death.reason.to_string()),
        units::size(u64::try_from(message.body.len()).unwrap_or(u64::MAX)),
        shortened(&message.body),
    ]
}

/// Rows under a heading; where no message is dead, without the columns for that.
fn message_table(mut rows: Vec<Vec<String>>) -> String {
    let dead = |row: &Vec<String>| row.get(5).is_some_and(|reason| !reason.is_empty());
    let mut columns = vec![
        Column::Left("ID"),
        Column::Left("STATE"),
        Column::Left("SENT"),
        Column::Right("FAILURES"),
        Column::Left("DIED IN"),
        Column::Left("REASON"),
        Column::Right("SIZE"),
        Column::Left("BODY"),
    ];
    if !rows.iter().any(dead) {
        columns.drain(4..6);
        for row in &mut rows {
            row.drain(4..6);
        }
    }
    output::table(&columns, &rows)
}

/// The beginning of a body in one line.
fn shortened(body: &[u8]) -> String {
    // No character has more than four bytes: more need not be looked at.
    let start = body.get(..BODY_CHARS_MAX * 4 + 4).unwrap_or(body);
    let mut text = escaped(start);
    if let Some((at, _)) = text.char_indices().nth(BODY_CHARS_MAX) {
        text.truncate(at);
        text.push_str("...");
    }
    text
}

/// Bytes as text without anything that moves the cursor.
fn escaped(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() {
            out.extend(char.escape_default());
        } else {
            out.push(char);
        }
    }
    out
}

/// Shows one message.
pub(super) fn peek(args: &Peek) -> Result<Done, Failure> {
    let engine = args.store.open_to_read()?;
    let queue = engine.queue(&args.name)?;
    let Some(message) = queue.peek(args.id)? else {
        return Err(Failure::Refused(format!(
            "queue {} has no message {}: it is done, or never was",
            args.name, args.id
        )));
    };
    let shards = queue.options().shards;
    if args.json {
        output::print_json(&JsonMessage::browsed(&message, shards))?;
    } else if args.body {
        let mut out = Stdout::lock();
        out.bytes(&message.body)?;
        out.flush()?;
    } else {
        output::print(&in_full(&message, shards))?;
    }
    engine.close()?;
    Ok(Done::Well)
}

fn in_full(message: &Browsed, shards: u32) -> String {
    let mut pairs = vec![
        ("id", message.id.to_string()),
        ("priority", priority(message.id, shards).to_string()),
        ("state", state_name(message.state).to_owned()),
    ];
    if let MessageState::Delayed(until) = message.state {
        pairs.push(("delayed until", time(until)));
    }
    pairs.push(("sent", time(message.sent)));
    pairs.push(("failures", message.failures.to_string()));
    if let Some(key) = &message.order_key {
        pairs.push(("order key", escaped(key)));
    }
    if let Some(death) = &message.death {
        let times = format!("{} to {}", time(death.first), time(death.last));
        pairs.extend([
            ("died in", death.queue.clone()),
            ("reason", death.reason.to_string()),
            (
                "error",
                death
                    .error
                    .as_deref()
                    .unwrap_or("none")
                    .escape_debug()
                    .to_string(),
            ),
            ("deliveries", death.deliveries.to_string()),
            ("failed from", times),
            ("deaths", death.count.to_string()),
        ]);
    }
    let mut text = output::pairs(&pairs);
    for (name, value) in &message.headers {
        // The engine's own are told above.
        if !name.starts_with("duolog-dead-") {
            // A String cannot refuse to grow.
            writeln!(text, "header {name}={}", escaped(value)).expect("written to memory");
        }
    }
    let size = units::size(u64::try_from(message.body.len()).unwrap_or(u64::MAX));
    format!("{text}body of {size}:\n{}\n", escaped(&message.body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_fits_into_a_line_and_moves_no_cursor() {
        assert_eq!(shortened(b"two\nlines\x1b[2J"), "two\\nlines\\u{1b}[2J");
        assert_eq!(shortened(&b"x".repeat(60)), "x".repeat(60));
        let long = shortened("\u{e4}".repeat(1000).as_bytes());
        assert_eq!(long, format!("{}...", "\u{e4}".repeat(60)));
    }

    #[test]
    fn columns_of_dead_letters_are_there_for_dead_letters() {
        let row = |reason: &str| -> Vec<String> {
            ["0-0", "ready", "now", "0", "jobs", reason, "1 B", "x"]
                .map(str::to_owned)
                .to_vec()
        };
        assert!(message_table(vec![row(""), row("expired")]).contains("REASON"));
        let plain = message_table(vec![row("")]);
        assert!(
            !plain.contains("REASON") && plain.contains("BODY"),
            "{plain}"
        );
        assert!(message_table(Vec::new()).starts_with("ID"));
    }
}
