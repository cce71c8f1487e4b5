//! The tiles that a log must have.

use std::mem;

use sqlx::PgConnection;

use super::{Stop, fault};
use crate::{
    EventLog,
    tile::signed,
    tree::{Edge, Hash},
};

/// Leaves of a tile.
const WIDTH: usize = 256;

/// The tiles over the leaves so far.
#[derive(Default)]
pub(super) struct Tiles {
    /// The children of the tile at the right edge, for each level.
    levels: Vec<Vec<Hash>>,
    complete: Complete,
}

/// Tiles that are not compared yet, in the order in which they were completed.
#[derive(Default)]
struct Complete {
    levels: Vec<i16>,
    indexes: Vec<i64>,
    hashes: Vec<Vec<u8>>,
    roots: Vec<Vec<u8>>,
    /// The last position of each.
    positions: Vec<u64>,
}

impl Tiles {
    /// Adds a leaf, with which there are so many.
    pub(super) fn push(&mut self, mut hash: Hash, size: u64) {
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::with_capacity(WIDTH));
            }
            let children = &mut self.levels[level];
            children.push(hash);
            if children.len() < WIDTH {
                return;
            }
            let complete = &mut self.complete;
            complete.hashes.push(children.concat());
            let mut tile = Edge::empty();
            for child in children.drain(..) {
                tile.push(child);
            }
            hash = tile.root();
            let index = (size >> (8 * (level + 1))) - 1;
            complete.roots.push(hash.to_vec());
            complete.indexes.push(signed(index));
            complete
                .levels
                .push(i16::try_from(level).unwrap_or(i16::MAX));
            complete.positions.push(size);
        }
    }

    /// Compares those that are complete with what is stored.
    pub(super) async fn compare(
        &mut self,
        log: &EventLog,
        connection: &mut PgConnection,
    ) -> Result<(), Stop> {
        let tiles = mem::take(&mut self.complete);
        let select =
            "select number - 1 from unnest($1::smallint[], $2::bigint[], $3::bytea[], $4::bytea[])
                with ordinality as due (level, tile, hashes, root, number)
            where not exists (select from event_log.event_tiles stored
                where (stored.level, stored.tile, stored.hashes, stored.root)
                    = (due.level, due.tile, due.hashes, due.root))
            order by number limit 1";
        let query = sqlx::query_scalar(log.sql(select));
        let query = query.bind(&tiles.levels).bind(&tiles.indexes);
        let query = query.bind(&tiles.hashes).bind(&tiles.roots);
        let wrong: Option<i64> = query.fetch_optional(connection).await?;
        let Some(wrong) = wrong.and_then(|it| usize::try_from(it).ok()) else {
            return Ok(());
        };
        let (level, index) = (tiles.levels[wrong], tiles.indexes[wrong]);
        let what = format!("the tile {index} of level {level} is missing or was changed");
        fault(tiles.positions[wrong], what)
    }
}
