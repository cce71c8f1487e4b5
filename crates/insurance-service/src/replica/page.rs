//! Holds a page of the feed to its order.

use std::time::Duration;

use serde_json::value::RawValue;
use uuid::Uuid;
use vehicle_client::{EventFault, EventFaultKind, FeedError, FeedPage, VehicleEvent};

use crate::replica::store::State;

/// An event of a page.
pub(super) struct Entry {
    /// Its place, whether it can be read or not.
    pub(super) position: i64,
    /// `None` where it cannot be known for sure.
    pub(super) id: Option<Uuid>,
    pub(super) told: Result<VehicleEvent, EventFault>,
    /// As it was sent.
    pub(super) text: Box<RawValue>,
}

impl Entry {
    /// What is wrong with it. A later version of what is known is not: the known one comes, too.
    pub(super) fn fault(&self) -> Option<EventFault> {
        let fault = self.told.as_ref().err().copied();
        fault.filter(|fault| fault.kind != EventFaultKind::Later)
    }
}

/// A page that follows on what was read before it.
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    /// The last place of the log.
    pub(super) log_position: i64,
    /// The event to go on after.
    pub(super) next: Option<Uuid>,
    pub(super) behind: Duration,
}

impl Page {
    /// `None`: the log is another one than that which was read, or has lost some of its end. As it
    /// has no gaps, what comes after the last event that was read has the next place, and a log
    /// that has nothing more ends there. A page ends before an event that has another place.
    pub(super) fn read(page: FeedPage, from: &State) -> Result<Option<Self>, FeedError> {
        let told: Vec<_> = page
            .events
            .iter()
            .map(|text| VehicleEvent::read(text.get()))
            .collect();
        let mut places = (0..).zip(&told);
        let first_told =
            places.find_map(|(index, told)| Some(told.as_ref().ok()?.position - index));
        let ends_elsewhere = |next| told.is_empty() && page.log_position >= next;
        let next = from.next_position();
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
