//! Rows into blocks that a server stores whole.
//!
//! Inserts turn off `optimize_on_insert`, so a block keeps each of its rows, in their order. A
//! block's rows without Kubernetes columns are inserted before those with them, so a key that has a
//! row with them before one without would be written in the wrong order: it goes on in a later
//! block. That happens only where another writer gave a resource other columns.

use std::collections::BTreeMap;

use super::entry::Entry;

/// Most rows of a block: below the number at which servers cut an insert in two.
const BLOCK_ROWS_MAX: usize = 500_000;

/// Splits rows into blocks, in the order in which they must be written.
#[must_use]
pub fn blocks(entries: &[Entry]) -> Vec<Vec<Entry>> {
    let mut layers: Vec<Vec<Entry>> = Vec::new();
    let mut last: BTreeMap<(&str, i64), (usize, bool)> = BTreeMap::new();
    for entry in entries {
        let key = (entry.resource_id.as_str(), entry.date_seconds);
        let is_plain = entry.dimensions.is_empty();
        let layer = match last.get(&key) {
            None => 0,
            Some((layer, was_plain)) => layer + usize::from(is_plain && !was_plain),
        };
        last.insert(key, (layer, is_plain));
        if layers.len() <= layer {
            layers.resize_with(layer + 1, Vec::new);
        }
        layers[layer].push(entry.clone());
    }
    layers.into_iter().flat_map(|layer| cut(layer, BLOCK_ROWS_MAX)).collect()
}

/// Cuts a layer into blocks of about `rows_max` rows at most, without parting a key's rows.
fn cut(layer: Vec<Entry>, rows_max: usize) -> Vec<Vec<Entry>> {
    let mut out: Vec<Vec<Entry>> = vec![Vec::new()];
    for entry in layer {
        if let Some(block) = out.last_mut() {
            let continues = block.last().is_some_and(|last| last.resource_id == entry.resource_id);
            if block.len() < rows_max || continues {
                block.push(entry);
                continue;
            }
        }
        out.push(vec![entry]);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::Dimensions;

    fn entry(resource_id: &str, sign: i8) -> Entry {
        Entry {
            resource_id: resource_id.into(),
            date_seconds: 0,
            cost_usd: 1.0,
            sign,
            dimensions: Dimensions::default(),
        }
    }

    fn names(blocks: &[Vec<Entry>]) -> Vec<Vec<(String, i8)>> {
        let named = |e: &Entry| (e.resource_id.clone(), e.sign);
        blocks.iter().map(|block| block.iter().map(named).collect()).collect()
    }

    fn shape(entries: &[Entry]) -> Vec<Vec<(String, i8)>> {
        names(&blocks(entries))
    }

    #[test]
    fn changes_of_healthy_keys_are_one_block() {
        let entries = [entry("a", -1), entry("a", 1), entry("b", 1), entry("c", -1)];
        assert_eq!(shape(&entries).len(), 1);
    }

    #[test]
    fn all_rows_of_a_key_are_one_block() {
        let entries =
            [entry("a", -1), entry("a", -1), entry("a", 1), entry("b", -1), entry("b", 1)];
        assert_eq!(blocks(&entries), [entries.to_vec()]);
    }

    #[test]
    fn a_row_without_kubernetes_columns_after_one_with_them_goes_in_a_later_block() {
        let namespace = Some("shop".to_owned());
        let with = Dimensions { namespace, ..Dimensions::default() };
        let entries = [
            entry("a", 1),
            Entry { dimensions: with.clone(), ..entry("a", -1) },
            Entry { dimensions: with, ..entry("a", -1) },
            entry("a", 1),
        ];
        let of = |sign| ("a".to_owned(), sign);
        assert_eq!(shape(&entries), [vec![of(1), of(-1), of(-1)], vec![of(1)]]);
    }

    #[test]
    fn a_block_of_full_size_ends_behind_a_keys_rows() {
        let rows = [entry("a", -1), entry("a", 1), entry("b", -1), entry("b", 1), entry("c", 1)];
        let sizes = |rows_max| -> Vec<usize> {
            cut(rows.to_vec(), rows_max).iter().map(Vec::len).collect()
        };
        assert_eq!(
            [1, 2, 3, 4, 5].map(sizes),
            [vec![2, 2, 1], vec![2, 2, 1], vec![4, 1], vec![4, 1], vec![5],]
        );
        assert_eq!(cut(rows.to_vec(), 2).concat(), rows);
    }

    proptest! {
        #[test]
        fn each_row_is_in_one_block_and_is_stored_in_its_keys_order(
            rows in prop::collection::vec(
                (prop::sample::select(vec!["a", "b", "c"]), prop::bool::ANY), 0..24),
        ) {
            let with = || Dimensions { node: Some("n".into()), ..Dimensions::default() };
            let entries: Vec<Entry> = rows
                .iter()
                .enumerate()
                .map(|(index, (id, is_plain))| Entry {
                    cost_usd: index as f64,
                    dimensions: if *is_plain { Dimensions::default() } else { with() },
                    ..entry(id, 1)
                })
                .collect();
            let blocks = blocks(&entries);
            prop_assert!(blocks.iter().all(|block| !block.is_empty()));
            let stored: Vec<Entry> = blocks
                .into_iter()
                .flat_map(|block| {
                    let (plain, with): (Vec<_>, Vec<_>) =
                        block.into_iter().partition(|entry| entry.dimensions.is_empty());
                    plain.into_iter().chain(with)
                })
                .collect();
            prop_assert_eq!(stored.len(), entries.len());
            for id in ["a", "b", "c"] {
                let of_key = |rows: &[Entry]| -> Vec<Entry> {
                    rows.iter().filter(|row| row.resource_id == id).cloned().collect()
                };
                prop_assert_eq!(of_key(&stored), of_key(&entries));
            }
        }
    }
}
