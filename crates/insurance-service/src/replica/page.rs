//! Holds a page of the feed to its order.

use std::time::Duration;

use serde_json::value::RawValue;
use uuid::Uuid;
use vehicle_client::{EventFault, EventFaultKind, FeedError, FeedPage, VehicleEvent};

/// How far a reader of the log is.
pub(crate) struct ReadTo {
    /// The log that it reads; `None` where it knows of none.
    pub(crate) log_id: Option<Uuid>,
    /// The place of the last event that it has read.
    pub(crate) position: i64,
    /// The place of the next one; `None` where it does not know which.
    pub(crate) next: Option<i64>,
}

/// An event of a page.
pub(crate) struct Entry {
    /// Its place, whether it can be read or not.
    pub(crate) position: i64,
    /// `None` where it cannot be known for sure.
    pub(crate) id: Option<Uuid>,
    pub(crate) told: Result<VehicleEvent, EventFault>,
    /// As it was sent.
    pub(crate) text: Box<RawValue>,
}

impl Entry {
    /// What is wrong with it. A later version of what is known is not, as long as the known one
    /// comes, too.
    pub(crate) fn fault(&self) -> Option<EventFault> {
        let fault = self.told.as_ref().err().copied();
        fault.filter(|_| self.later().is_none())
    }

    /// Of a later version of what is known: the version of the vehicle that it tells.
    pub(crate) fn later(&self) -> Option<i64> {
        match self.told.as_ref().err()?.kind {
            EventFaultKind::Later { version } => Some(version),
            EventFaultKind::Unreadable | EventFaultKind::Contract => None,
        }
    }
}

/// A page that follows on what was read before it.
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    /// The last place of the log.
    pub(crate) log_position: i64,
    /// The event to go on after.
    pub(crate) next: Option<Uuid>,
    pub(crate) behind: Duration,
}

impl Page {
    /// `None`: the log is another one than that which was read, or has lost some of its end. As it
    /// has no gaps, what comes after the last event that was read has the next place, and a log
    /// that has nothing more ends there. A page ends before an event that has another place.
    pub(crate) fn read(page: FeedPage, from: &ReadTo) -> Result<Option<Self>, FeedError> {
        let told: Vec<_> = page
            .events
            .iter()
            .map(|text| VehicleEvent::read(text.get()))
            .collect();
        let mut places = (0..).zip(&told);
        let first_told =
            places.find_map(|(index, told)| Some(told.as_ref().ok()?.position - index));
        let ends_elsewhere = |next| told.is_empty() && page.log_position >= next;
        let next = from.next;
        if Some(page.log_id) != from.log_id
            || page.log_position < from.position
            || next.is_some_and(|next| first_told.is_some_and(|first| first != next))
            || next.is_some_and(ends_elsewhere)
        {
            return Ok(None);
        }
        let first = next.or(first_told).unwrap_or(1);
        let places = (first..).zip(&told);
        if places
            .last()
            .is_some_and(|(last, _)| last > page.log_position)
        {
            return Err(FeedError::Contract("the log ends before its last event"));
        }
        let mut entries = Vec::with_capacity(told.len());
        let mut next = page.next;
        for ((position, told), text) in (first..).zip(told).zip(page.events) {
            let id = match &told {
                Ok(event) if event.position != position => {
                    // The next page begins with it, and its log is another one.
                    next = entries.last().and_then(|before: &Entry| before.id);
                    break;
                }
                Ok(event) => Some(event.id),
                Err(fault) => fault.id,
            };
            entries.push(Entry {
                position,
                id,
                told,
                text,
            });
        }
        if let Some(last) = entries.last_mut() {
            last.id = next;
        }
        Ok(Some(Self {
            entries,
            log_position: page.log_position,
            next,
            behind: page.behind,
        }))
    }
}
