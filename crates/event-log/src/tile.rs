//! Complete subtrees of 256 leaves, kept in `event_tiles`, so that a proof reads a few rows and not
//! the log.
//!
//! A tile of level 0 has 256 leaves as its children, one of level l + 1 the roots of 256 tiles of
//! level l. Of the tile at the right edge of each level, which is not complete, the children are in
//! `log` or in the tiles of the level below.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::Range,
};

use sqlx::PgConnection;

use crate::{
    EventLog,
    tree::{Edge, Hash, Subtree, hash_over, subtrees},
};

/// Children of a tile.
const WIDTH: u64 = 256;
/// The height of a tile: 2^8 = 256.
const HEIGHT: u32 = 8;

/// A complete tile.
pub(crate) struct Tile {
    level: u32,
    index: u64,
    pub(crate) children: Vec<Hash>,
}

impl Tile {
    pub(crate) fn level(&self) -> i16 {
        small(self.level)
    }

    pub(crate) fn index(&self) -> i64 {
        signed(self.index)
    }

    pub(crate) fn root(&self) -> Hash {
        root_of(&self.children)
    }
}

/// The root over a power of two of hashes.
fn root_of(hashes: &[Hash]) -> Hash {
    let mut edge = Edge::empty();
    for hash in hashes {
        edge.push(*hash);
    }
    edge.root()
}

/// The tiles of every level that these leaves complete, appended to a tree of this size.
pub(crate) async fn complete(
    log: &EventLog,
    connection: &mut PgConnection,
    size: u64,
    leaves: Vec<Hash>,
) -> sqlx::Result<Vec<Tile>> {
    let (mut tiles, mut level, mut size, mut hashes) = (Vec::new(), 0, size, leaves);
    loop {
        let begun = size % WIDTH;
        if begun + (hashes.len() as u64) < WIDTH {
            return Ok(tiles);
        }
        let mut children = stored_children(log, connection, level, size - begun..size).await?;
        children.append(&mut hashes);
        let complete = children.chunks_exact(256).zip(size / WIDTH..);
        let complete = complete.map(|(children, index)| Tile {
            level,
            index,
            children: children.to_vec(),
        });
        let before = tiles.len();
        tiles.extend(complete);
        hashes = tiles[before..].iter().map(Tile::root).collect();
        size /= WIDTH;
        level += 1;
    }
}

/// Children of tiles of this level that are counted so: leaves, or roots of the level below.
async fn stored_children(
    log: &EventLog,
    connection: &mut PgConnection,
    level: u32,
    children: Range<u64>,
) -> sqlx::Result<Vec<Hash>> {
    let (from, to) = (signed(children.start), signed(children.end));
    let hashes: Vec<Vec<u8>> = if level == 0 {
        let select = log.sql(
            "select leaf_hash from event_log.log where position > $1 and position <= $2 order by position",
        );
        let query = sqlx::query_scalar(select).bind(from).bind(to);
        query.fetch_all(connection).await?
    } else {
        let select = log.sql(
            "select root from event_log.event_tiles
             where level = $3 and tile >= $1 and tile < $2 order by tile",
        );
        let query = sqlx::query_scalar(select).bind(from).bind(to);
        query.bind(small(level - 1)).fetch_all(connection).await?
    };
    let hashes: Result<Vec<Hash>, _> = hashes.into_iter().map(Hash::try_from).collect();
    let all = hashes
        .ok()
        .filter(|it| it.len() as u64 == children.end - children.start);
    all.ok_or_else(missing)
}

/// The hashes of the nodes over these ranges of leaves, in the tree of this size.
///
/// # Errors
///
/// [`sqlx::Error::RowNotFound`] where the tables do not hold what the tree is made of; what is
/// wrong with them, `verify-log` says.
pub(crate) async fn nodes(
    log: &EventLog,
    connection: &mut PgConnection,
    size: u64,
    ranges: &[Range<u64>],
) -> sqlx::Result<Vec<Hash>> {
    let mut rows = HashMap::new();
    let mut nodes = Vec::with_capacity(ranges.len());
    for range in ranges {
        let parts = subtrees(range.clone());
        for part in &parts {
            let row = Row::of(*part);
            if let Entry::Vacant(vacant) = rows.entry(row) {
                vacant.insert(row.read(log, connection, size).await?);
            }
        }
        let hashes: Option<Vec<_>> = parts.iter().map(|it| hash_of(*it, &rows)).collect();
        let hash = hashes.and_then(|it| hash_over(it.into_iter()));
        nodes.push(hash.ok_or_else(missing)?);
    }
    Ok(nodes)
}

/// The children of one tile, complete or not.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Row {
    level: u32,
    tile: u64,
}

impl Row {
    /// Where the children are that make up a subtree, or are it.
    fn of(subtree: Subtree) -> Self {
        Self {
            level: subtree.height / HEIGHT,
            tile: subtree.index >> (HEIGHT - subtree.height % HEIGHT),
        }
    }

    async fn read(
        self,
        log: &EventLog,
        connection: &mut PgConnection,
        size: u64,
    ) -> sqlx::Result<Vec<Hash>> {
        let first = self.tile * WIDTH;
        let there = size >> (HEIGHT * self.level);
        if there < first + WIDTH {
            return stored_children(log, connection, self.level, first..there).await;
        }
        let select =
            log.sql("select hashes from event_log.event_tiles where level = $1 and tile = $2");
        let query = sqlx::query_scalar(select);
        let query = query.bind(small(self.level)).bind(signed(self.tile));
        let hashes: Vec<u8> = query.fetch_one(connection).await?;
        Ok(hashes.as_chunks().0.to_vec())
    }
}

fn hash_of(subtree: Subtree, rows: &HashMap<Row, Vec<Hash>>) -> Option<Hash> {
    let row = rows.get(&Row::of(subtree))?;
    let width = 1 << (subtree.height % HEIGHT);
    let first = usize::try_from(subtree.index % (WIDTH / width as u64)).ok()? * width;
    row.get(first..first + width).map(root_of)
}

fn missing() -> sqlx::Error {
    sqlx::Error::RowNotFound
}

/// Levels are below 8, positions below 2^63.
fn small(level: u32) -> i16 {
    i16::try_from(level).unwrap_or(i16::MAX)
}

pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
