//! Complete subtrees of 256 leaves, kept in `event_tiles`, so that a proof reads a few rows and not
//! the log.
//!
//! A tile of level 0 has 256 leaves as its children, one of level l + 1 the roots of 256 tiles of
//! level l. Of the tile at the right edge of each level, which is not complete, the children are in
//! `log` or in the tiles of the level below.

use std::{
    collections::{BTreeSet, HashMap},
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
        if size % WIDTH + (hashes.len() as u64) < WIDTH {
            return Ok(tiles);
        }
        let row = Row {
            level,
            tile: size / WIDTH,
        };
        let mut children = read(log, connection, &[(row, size)]).await?.concat();
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
    let parts: Vec<_> = ranges.iter().map(|it| subtrees(it.clone())).collect();
    let wanted: BTreeSet<_> = parts.iter().flatten().map(|it| Row::of(*it)).collect();
    let there = |row: Row| (row, size >> (HEIGHT * row.level));
    let wanted: Vec<_> = wanted.into_iter().map(there).collect();
    let found = read(log, connection, &wanted).await?;
    let rows: HashMap<_, _> = wanted.into_iter().map(|(row, _)| row).zip(found).collect();
    let node = |parts: &Vec<Subtree>| {
        let hashes: Option<Vec<_>> = parts.iter().map(|it| hash_of(*it, &rows)).collect();
        hashes.and_then(|it| hash_over(it.into_iter()))
    };
    parts
        .iter()
        .map(|it| node(it).ok_or_else(missing))
        .collect()
}

/// The children of one tile, complete or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
}

/// The children of tiles, each of a tree that has so many on the tile's level, in one statement.
async fn read(
    log: &EventLog,
    connection: &mut PgConnection,
    rows: &[(Row, u64)],
) -> sqlx::Result<Vec<Vec<Hash>>> {
    let select = log.sql(
        "select coalesce(case
             when until = (tile + 1) * 256 then (
                 select hashes from event_log.event_tiles stored
                 where stored.level = wanted.level and stored.tile = wanted.tile)
             when level = 0 then (
                 select string_agg(leaf_hash, '' order by position) from event_log.log
                 where position > wanted.tile * 256 and position <= until)
             else (
                 select string_agg(root, '' order by stored.tile) from event_log.event_tiles stored
                 where stored.level = wanted.level - 1
                     and stored.tile >= wanted.tile * 256 and stored.tile < until)
             end, '')
         from unnest($1::smallint[], $2::bigint[], $3::bigint[]) with ordinality
             as wanted (level, tile, until, number)
         order by number",
    );
    let levels: Vec<i16> = rows.iter().map(|(row, _)| small(row.level)).collect();
    let tiles: Vec<i64> = rows.iter().map(|(row, _)| signed(row.tile)).collect();
    let until = |(row, there): &(Row, u64)| (*there).min((row.tile + 1) * WIDTH);
    let ends: Vec<i64> = rows.iter().map(|row| signed(until(row))).collect();
    let query = sqlx::query_scalar(select).bind(levels).bind(tiles);
    let found: Vec<Vec<u8>> = query.bind(ends).fetch_all(connection).await?;
    let whole = |(row, bytes): (&(Row, u64), &Vec<u8>)| {
        let (hashes, rest) = bytes.as_chunks();
        let due = until(row) - row.0.tile * WIDTH;
        let fits = rest.is_empty() && hashes.len() as u64 == due;
        fits.then(|| hashes.to_vec()).ok_or_else(missing)
    };
    rows.iter().zip(&found).map(whole).collect()
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
