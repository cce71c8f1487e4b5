//! The Merkle tree of RFC 9162, section 2.1, over SHA-256: hashes, proofs and their verification.
//! Pure: what reads the hashes is elsewhere.

use std::ops::Range;

use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// The hash of a leaf (RFC 9162, section 2.1.1).
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let hasher = Sha256::new_with_prefix([0]);
    hasher.chain_update(leaf).finalize().into()
}

/// The hash of a node over two others.
pub(crate) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let hasher = Sha256::new_with_prefix([1]);
    hasher
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// The root of a tree of no leaves.
pub(crate) fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// A complete subtree: the `2^height` leaves from `index * 2^height` on, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subtree {
    pub(crate) height: u32,
    pub(crate) index: u64,
}

/// The complete subtrees that a range of leaves is made of, the largest first. The range begins
/// where a node of the tree does.
pub(crate) fn subtrees(leaves: Range<u64>) -> Vec<Subtree> {
    let mut rest = leaves;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let height = (rest.end - rest.start).ilog2();
        let index = rest.start >> height;
        found.push(Subtree { height, index });
        rest.start += 1 << height;
    }
    found
}

/// The hash of the node over these subtrees, the largest first; `None` for none.
pub(crate) fn hash_over(subtrees: impl DoubleEndedIterator<Item = Hash>) -> Option<Hash> {
    subtrees
        .rev()
        .reduce(|right, left| node_hash(&left, &right))
}

/// The leaves under each hash of the proof that a leaf, counted from 0, is in the tree of this
/// size (RFC 9162, section 2.1.3).
pub(crate) fn inclusion_path(leaf: u64, size: u64) -> Vec<Range<u64>> {
    let (mut node, mut path) = (0..size, Vec::new());
    while node.end - node.start > 1 {
        let middle = split(&node);
        if leaf < middle {
            path.push(middle..node.end);
            node.end = middle;
        } else {
            path.push(node.start..middle);
            node.start = middle;
        }
    }
    path.reverse();
    path
}

/// The leaves under each hash of the proof that the tree of the size `to` begins with that of the
/// size `from` (RFC 9162, section 2.1.4). Empty for equal sizes.
pub(crate) fn consistency_path(from: u64, to: u64) -> Vec<Range<u64>> {
    let (mut node, mut path) = (0..to, Vec::new());
    while node.end != from {
        let middle = split(&node);
        if from <= middle {
            path.push(middle..node.end);
            node.end = middle;
        } else {
            path.push(node.start..middle);
            node.start = middle;
        }
    }
    if node.start > 0 {
        path.push(node);
    }
    path.reverse();
    path
}

/// Where the node over these leaves, two at least, is divided: its left side is as large a power of
/// two as there is below its size.
fn split(node: &Range<u64>) -> u64 {
    node.start + (1 << (node.end - node.start - 1).ilog2())
}

/// Whether a proof shows that a leaf, counted from 0, is in the tree of this size and root (RFC
/// 9162, section 2.1.3).
pub fn verify_inclusion(leaf_hash: Hash, leaf: u64, size: u64, root: Hash, proof: &[Hash]) -> bool {
    if leaf >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (leaf, size - 1, leaf_hash);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node % 2 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node.is_multiple_of(2) && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// Whether a proof shows that the tree of the second size and root begins with the first one (RFC
/// 9162, section 2.1.4).
pub fn verify_consistency(first: (u64, Hash), second: (u64, Hash), proof: &[Hash]) -> bool {
    let ((from, old_root), (to, new_root)) = (first, second);
    if from == 0 || from >= to {
        return from == to && old_root == new_root && proof.is_empty();
    }
    let mut hashes = proof.iter();
    // A complete tree is a node of the later one, and is not repeated in the proof.
    let start = if from.is_power_of_two() {
        old_root
    } else {
        let Some(start) = hashes.next() else {
            return false;
        };
        *start
    };
    let (mut node, mut last) = (from - 1, to - 1);
    while node % 2 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (start, start);
    for hash in hashes {
        if last == 0 {
            return false;
        }
        if node % 2 == 1 || node == last {
            old = node_hash(hash, &old);
            new = node_hash(hash, &new);
            while node.is_multiple_of(2) && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old == old_root && new == new_root
}

/// The right edge of a tree that grows: the roots of the complete subtrees that it is made of, one
/// for each 1-bit of its size, the largest first. Enough for its root and for one leaf more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    size: u64,
    roots: Vec<Hash>,
}

impl Edge {
    /// Of a tree of no leaves.
    pub(crate) fn empty() -> Self {
        Self {
            size: 0,
            roots: Vec::new(),
        }
    }

    /// Of a tree of this size, out of [`Self::bytes`]; `None` where they do not fit.
    pub(crate) fn read(size: u64, bytes: &[u8]) -> Option<Self> {
        let (roots, rest) = bytes.as_chunks();
        let fits = rest.is_empty() && roots.len() == size.count_ones() as usize;
        fits.then(|| Self {
            size,
            roots: roots.to_vec(),
        })
    }

    /// How many leaves there are.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The hashes, one after the other.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.roots.concat()
    }

    /// Adds a leaf.
    pub(crate) fn push(&mut self, leaf_hash: Hash) {
        let mut hash = leaf_hash;
        // Each 1-bit at the end of the size is a subtree as large as the one that is complete now.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> Hash {
        hash_over(self.roots.iter().copied()).unwrap_or_else(empty_root)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The leaves of the reference implementation of Certificate Transparency.
    const LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    /// Its roots of the trees of 1 to 8 leaves.
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn known_leaves() -> Vec<Hash> {
        let leaf = |text| leaf_hash(&hex::decode(text).unwrap());
        LEAVES.map(leaf).into()
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    /// MTH of RFC 9162, section 2.1.1, word by word.
    fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(&naive_root(left), &naive_root(right))
            }
        }
    }

    fn edge(leaves: &[Hash]) -> Edge {
        let mut edge = Edge::empty();
        for leaf in leaves {
            edge.push(*leaf);
        }
        edge
    }

    /// What a proof's path names, out of the leaves.
    fn hashes(leaves: &[Hash], path: &[Range<u64>]) -> Vec<Hash> {
        let at = |n: u64| usize::try_from(n).unwrap();
        path.iter()
            .map(|range| naive_root(&leaves[at(range.start)..at(range.end)]))
            .collect()
    }

    #[test]
    fn the_roots_are_those_of_the_reference_implementation() {
        let leaves = known_leaves();
        assert_eq!(
            hex::encode(edge(&[]).root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (size, root) in (1..).zip(ROOTS) {
            assert_eq!(hex::encode(edge(&leaves[..size]).root()), root, "{size}");
        }
    }

    #[test]
    fn the_proofs_are_those_of_the_reference_implementation() {
        let leaves = known_leaves();
        let proof = |path: &[Range<u64>]| {
            hashes(&leaves, path)
                .iter()
                .map(hex::encode)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            proof(&inclusion_path(5, 8)),
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        assert_eq!(
            proof(&consistency_path(6, 8)),
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
    }

    #[test]
    fn an_edge_is_read_back_where_its_size_fits() {
        for size in 0..70 {
            let edge = edge(&leaves(size));
            assert_eq!(Edge::read(size, &edge.bytes()), Some(edge.clone()));
            assert_eq!(
                Edge::read(size + 1, &edge.bytes()).is_some(),
                size.count_ones() == (size + 1).count_ones()
            );
            assert_eq!(Edge::read(size, &[edge.bytes(), vec![0]].concat()), None);
        }
    }

    proptest! {
        #[test]
        fn a_grown_tree_is_the_naive_one(size in 0_u64..600) {
            let leaves = leaves(size);
            prop_assert_eq!(edge(&leaves).root(), naive_root(&leaves));
        }

        /// What `hash_over` and `subtrees` give for a path is what the leaves under it give.
        #[test]
        fn a_node_is_made_of_its_subtrees(size in 1_u64..600, at in any::<prop::sample::Index>()) {
            let leaves = leaves(size);
            let leaf = at.index(leaves.len()) as u64;
            for range in inclusion_path(leaf, size) {
                let parts = subtrees(range.clone());
                let of = |it: &Subtree| (it.index << it.height)..((it.index + 1) << it.height);
                let ranges: Vec<_> = parts.iter().map(of).collect();
                prop_assert!(ranges.windows(2).all(|it| it[0].end == it[1].start));
                let hash = hash_over(hashes(&leaves, &ranges).into_iter());
                prop_assert_eq!(hash, Some(hashes(&leaves, &[range])[0]));
            }
        }

        #[test]
        fn a_proof_of_inclusion_holds_for_its_leaf_only(
            size in 1_u64..600, at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(),
        ) {
            let leaves = leaves(size);
            let (leaf, other) = (at.index(leaves.len()), other.index(leaves.len()));
            let (root, place) = (naive_root(&leaves), leaf as u64);
            let proof = hashes(&leaves, &inclusion_path(place, size));
            prop_assert!(verify_inclusion(leaves[leaf], place, size, root, &proof));
            prop_assert!(!verify_inclusion(leaf_hash(b"x"), place, size, root, &proof));
            prop_assert!(!verify_inclusion(leaves[leaf], place, size, leaf_hash(b"x"), &proof));
            prop_assert_eq!(verify_inclusion(leaves[leaf], other as u64, size, root, &proof), leaf == other);
            prop_assert!(!verify_inclusion(leaves[leaf], place, size, root, &[&proof[..], &[root]].concat()));
            if let Some((_, shorter)) = proof.split_last() {
                prop_assert!(!verify_inclusion(leaves[leaf], place, size, root, shorter));
            }
        }

        #[test]
        fn a_proof_of_consistency_holds_for_its_trees_only(to in 1_u64..600, at in any::<prop::sample::Index>()) {
            let mut leaves = leaves(to);
            let from = at.index(leaves.len()) + 1;
            let (first, second) = ((from as u64, naive_root(&leaves[..from])), (to, naive_root(&leaves)));
            let proof = hashes(&leaves, &consistency_path(from as u64, to));
            prop_assert!(verify_consistency(first, second, &proof));
            prop_assert!(!verify_consistency((first.0, leaf_hash(b"x")), second, &proof));
            prop_assert!(!verify_consistency(first, (to, leaf_hash(b"x")), &proof));
            prop_assert!(!verify_consistency(first, second, &[&proof[..], &[second.1]].concat()));
            if let Some((_, shorter)) = proof.split_last() {
                prop_assert!(!verify_consistency(first, second, shorter));
            }
            // One that was changed within the first tree, with all hashes made anew.
            leaves[from - 1] = leaf_hash(b"x");
            let changed = (to, naive_root(&leaves));
            let proof = hashes(&leaves, &consistency_path(from as u64, to));
            prop_assert!(!verify_consistency(first, changed, &proof));
        }
    }
}
