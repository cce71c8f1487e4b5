//! Proofs out of the stored hashes. Each reads a few hundred narrow rows and some tiles, however
//! long the log is.

use std::{ops::Range, slice};

use sqlx::PgConnection;

use crate::{
    EventLog,
    tile::nodes,
    tree::{Hash, consistency_path, inclusion_path},
};

impl EventLog {
    /// The proof that the event at a position is in the log as it was with this size (RFC 9162,
    /// section 2.1.3); `None` unless 1 ≤ position ≤ size ≤ the last position.
    ///
    /// [`tree::verify_inclusion`](crate::tree::verify_inclusion) counts leaves from 0.
    pub async fn inclusion(
        &self,
        connection: &mut PgConnection,
        position: u64,
        size: u64,
    ) -> sqlx::Result<Option<Vec<Hash>>> {
        if position == 0 || position > size {
            return Ok(None);
        }
        let path = inclusion_path(position - 1, size);
        self.hashes(connection, size, &path).await
    }

    /// The proof that the log of the size `to` begins with that of the size `from` (RFC 9162, section
    /// 2.1.4); `None` unless 1 ≤ from ≤ to ≤ the last position.
    pub async fn consistency(
        &self,
        connection: &mut PgConnection,
        from: u64,
        to: u64,
    ) -> sqlx::Result<Option<Vec<Hash>>> {
        if from == 0 || from > to {
            return Ok(None);
        }
        let path = consistency_path(from, to);
        self.hashes(connection, to, &path).await
    }

    /// The root of the log as it was with this size; `None` unless 1 ≤ size ≤ the last position.
    pub async fn root(
        &self,
        connection: &mut PgConnection,
        size: u64,
    ) -> sqlx::Result<Option<Hash>> {
        let all = 0..size;
        let hashes = self.hashes(connection, size, slice::from_ref(&all)).await?;
        Ok(hashes.and_then(|it| it.first().copied()))
    }

    async fn hashes(
        &self,
        connection: &mut PgConnection,
        size: u64,
        ranges: &[Range<u64>],
    ) -> sqlx::Result<Option<Vec<Hash>>> {
        let last = self.head(connection).await?.position;
        if size == 0 || size > last.unsigned_abs() {
            return Ok(None);
        }
        nodes(self, connection, size, ranges).await.map(Some)
    }
}
