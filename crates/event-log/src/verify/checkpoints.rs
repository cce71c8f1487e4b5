//! What checkpoints tell of the log: those in its table and those that somebody has kept.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Fault, Stop, fault};
use crate::{
    EventLog, Timestamp,
    checkpoint::{Checkpoint, PublicKey},
    lineage::{Lineage, log_id},
    tree::{Edge, Hash},
};

const NOT_SIGNED: &str = "the stored checkpoint of this size is not what was signed";

/// The checkpoints that a log is compared with, and what that has shown.
pub(super) struct Checkpoints {
    lineage: Lineage,
    /// Those that are not compared yet, by size.
    expected: BTreeMap<u64, Vec<Expected>>,
    /// Those of logs that are not known here, signed with the key of this one.
    unknown: Vec<(Uuid, Checkpoint)>,
    /// How many agree.
    pub(super) agreed: u64,
    /// How many of these were given.
    pub(super) given: u64,
    /// The size of the last one that agreed.
    covered: u64,
    /// When those were signed that agree and that the tables' owner cannot have made.
    vouching: Vec<Option<Timestamp>>,
    pub(super) lost: Option<Fault>,
    pub(super) lost_logs: BTreeSet<Uuid>,
    pub(super) needs_another_id: bool,
}

/// Who has kept a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The database, which loses it with the events.
    Stored {
        /// With the key that is known.
        is_signed: bool,
    },
    /// Somebody else; it is of the log as it is named now.
    Exported,
    /// Somebody else; it is of a log that this one goes on from.
    ExportedBefore,
}

impl Source {
    fn is_stored(self) -> bool {
        matches!(self, Self::Stored { .. })
    }
}

/// What a checkpoint tells of the log as it was with a size.
struct Expected {
    root: Hash,
    signed_at: Option<Timestamp>,
    source: Source,
}

impl Checkpoints {
    pub(super) fn of(lineage: Lineage) -> Self {
        Self {
            lineage,
            expected: BTreeMap::new(),
            unknown: Vec::new(),
            agreed: 0,
            given: 0,
            covered: 0,
            vouching: Vec::new(),
            lost: None,
            lost_logs: BTreeSet::new(),
            needs_another_id: false,
        }
    }

    /// Adds one that was given.
    pub(super) fn expect_exported(
        &mut self,
        note: &str,
        key: Option<&PublicKey>,
    ) -> Result<(), Stop> {
        let Ok((told, signed)) = Checkpoint::told(note, key) else {
            return fault(1, "a checkpoint that was given cannot be read");
        };
        let Checkpoint { origin, size, .. } = &told;
        match (self.lineage.largest_of(origin), log_id(origin)) {
            (Some(left), _) if *size > left => {
                let what = format!(
                    "the log goes on from {origin}, whose events from here to {size} were lost"
                );
                self.lose(Source::ExportedBefore, left + 1, what);
            }
            (Some(u64::MAX), _) => self.expect(&told, Source::Exported),
            (Some(_), _) => self.expect(&told, Source::ExportedBefore),
            // The key signs for no other database.
            (None, Some(id)) if signed => self.unknown.push((id, told)),
            (None, _) => {
                return fault(1, format!("the checkpoint is of another log, {origin}"));
            }
        }
        Ok(())
    }

    /// Adds those of the table.
    pub(super) async fn expect_stored(
        &mut self,
        log: &EventLog,
        connection: &mut PgConnection,
        key: Option<&PublicKey>,
    ) -> Result<(), Stop> {
        let select = "select position, root, note from event_log.checkpoints order by position";
        let stored: Vec<(i64, Vec<u8>, String)> = sqlx::query_as(log.sql(select))
            .fetch_all(connection)
            .await?;
        let mut signed = false;
        for (position, root, note) in stored {
            let size = position.unsigned_abs();
            let Ok((told, is_signed)) = Checkpoint::told(&note, key) else {
                return fault(size, NOT_SIGNED);
            };
            // Before the key signed anything there was another one, or none is known here.
            if signed && !is_signed {
                return fault(size, "the stored checkpoint of this size is not signed");
            }
            signed = is_signed;
            if told.size != size || told.root.as_slice() != root {
                return fault(size, NOT_SIGNED);
            }
            match self.lineage.largest_of(&told.origin) {
                Some(left) if size <= left => self.expect(&told, Source::Stored { is_signed }),
                _ => return fault(size, "the stored checkpoint of this size is of another log"),
            }
        }
        Ok(())
    }

    fn expect(&mut self, told: &Checkpoint, source: Source) {
        let expected = Expected {
            root: told.root,
            signed_at: told.signed_at,
            source,
        };
        self.expected.entry(told.size).or_default().push(expected);
    }

    /// Events from a position on are missing, as a checkpoint says.
    fn lose(&mut self, source: Source, position: u64, what: String) {
        self.needs_another_id |= source == Source::Exported;
        let _ = self.lost.get_or_insert(Fault { position, what });
    }

    /// With those of the size that the tree has now, the last event of which got its place at this
    /// moment.
    pub(super) fn compare(&mut self, tree: &Edge, placed_at: Timestamp) -> Result<(), Stop> {
        let (size, first) = (tree.size(), self.covered + 1);
        let Some(all) = self.expected.remove(&size) else {
            return Ok(());
        };
        let root = tree.root();
        for expected in all {
            // What was signed cannot hold an event that had no place yet.
            let is_later = expected.signed_at.is_some_and(|it| it < placed_at);
            if expected.root == root {
                self.agree(size, &expected);
            } else if !expected.source.is_stored() && is_later {
                let what = format!(
                    "the events from here to {size}, which a checkpoint of that size covers, were \
                     lost, and others were placed there since"
                );
                self.lose(expected.source, first, what);
            } else {
                let what = format!(
                    "the checkpoint of the size {size} has another root: events from here to {size} were changed, with all hashes made anew"
                );
                return fault(first, what);
            }
        }
        Ok(())
    }

    fn agree(&mut self, size: u64, expected: &Expected) {
        self.agreed += 1;
        self.covered = size;
        self.given += u64::from(!expected.source.is_stored());
        if expected.source != (Source::Stored { is_signed: false }) {
            self.vouching.push(expected.signed_at);
        }
    }

    /// What is left once the log has ended with this size.
    pub(super) fn end(&mut self, size: u64) -> Result<(), Stop> {
        for (longer, all) in std::mem::take(&mut self.expected) {
            let what = format!("the log ends before its checkpoint of the size {longer}");
            if all.iter().any(|it| it.source.is_stored()) {
                return fault(size + 1, what);
            }
            self.lose(Source::Exported, size + 1, what);
        }
        for (id, told) in std::mem::take(&mut self.unknown) {
            let Checkpoint {
                origin, size: lost, ..
            } = &told;
            // The log was there before the one that went on from it. Else whoever gives a rewritten
            // log another id makes every checkpoint of it one of a log that was lost.
            if !self.vouching.iter().any(|at| *at <= told.signed_at) {
                let what = format!(
                    "the checkpoint is of another log, {origin}, and none that is as old agrees \
                     with this one"
                );
                return fault(1, what);
            }
            let what = format!(
                "the log {origin}, which went on from here or from before, was lost with its \
                 events up to {lost}"
            );
            self.lost_logs.insert(id);
            self.lose(Source::Exported, size + 1, what);
        }
        Ok(())
    }
}
