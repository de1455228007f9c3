//! Which messages of a queue are meant: by id, by why they died, by headers.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use duolog::{Browsed, DeadReason, Filter, MessageId};

use super::filter::{self, Condition};

const REASONS: [DeadReason; 4] = [
    DeadReason::Rejected,
    DeadReason::Expired,
    DeadReason::MaxDeliveries,
    DeadReason::Overflow,
];

/// Which messages are meant; all, if nothing is given.
#[derive(Debug, clap::Args)]
pub(super) struct SelectFlags {
    /// Only the message with this id; may be repeated.
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<MessageId>,
    /// Only dead letters that died of this.
    #[arg(long, value_name = "REASON", value_parser = reason_parser())]
    reason: Option<DeadReason>,
    /// Only messages with such a header: name=a|b, name^=start, name or !name;
    /// may be repeated.
    #[arg(short, long = "filter", value_name = "FILTER")]
    filters: Vec<Condition>,
}

/// What [`SelectFlags`] choose.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    flags: &'a SelectFlags,
    filter: Filter,
}

impl SelectFlags {
    pub(super) fn selection(&self) -> Selection<'_> {
        Selection {
            flags: self,
            filter: filter::all_of(&self.filters),
        }
    }

    /// The ids that were asked for.
    pub(super) fn ids(&self) -> &[MessageId] {
        &self.ids
    }
}

impl Selection<'_> {
    pub(super) fn wants(&self, message: &Browsed) -> bool {
        let SelectFlags { ids, reason, .. } = self.flags;
        let died = message.death.as_ref().map(|death| death.reason);
        let mut headers = message.headers.iter();
        (ids.is_empty() || ids.contains(&message.id))
            && (reason.is_none() || *reason == died)
            && self
                .filter
                .matches(headers.by_ref().map(|(name, value)| (&**name, &value[..])))
    }
}

/// Accepts the reasons by name.
fn reason_parser() -> impl TypedValueParser<Value = DeadReason> {
    let value = |reason: DeadReason| match reason {
        // As options have it.
        DeadReason::MaxDeliveries => PossibleValue::new(reason.as_str()).alias("max-deliveries"),
        _ => PossibleValue::new(reason.as_str()),
    };
    PossibleValuesParser::new(REASONS.map(value)).try_map(|name| {
        let name = name.replace('-', "_");
        let found = REASONS.into_iter().find(|reason| reason.as_str() == name);
        found.ok_or("it is not one of the reasons")
    })
}
