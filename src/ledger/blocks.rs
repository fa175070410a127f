//! Rows into blocks that a server stores whole.
//!
//! Newer servers collapse a block's rows by key while inserting it (`optimize_on_insert`). That
//! keeps a key's row with sign -1 followed by one with +1, but would swallow a second row of the
//! same sign. So a block holds at most one such pair per key; only healing needs a second block.

use std::collections::BTreeMap;

use super::entry::Entry;

/// Most rows of a block: below the number at which servers cut an insert in two.
const BLOCK_ROWS_MAX: usize = 500_000;

/// Splits rows into blocks, in the order in which they must be written.
#[must_use]
pub fn blocks(entries: &[Entry]) -> Vec<Vec<Entry>> {
    let mut layers: Vec<Vec<Entry>> = Vec::new();
    let mut last: BTreeMap<(&str, i64), (usize, i8)> = BTreeMap::new();
    for entry in entries {
        let key = (entry.resource_id.as_str(), entry.date_seconds);
        let layer = match last.get(&key) {
            None => 0,
            Some((layer, -1)) if entry.sign == 1 => *layer,
            Some((layer, _)) => layer + 1,
        };
        last.insert(key, (layer, entry.sign));
        if layers.len() <= layer {
            layers.resize_with(layer + 1, Vec::new);
        }
        layers[layer].push(entry.clone());
    }
    layers.into_iter().flat_map(cut).collect()
}

/// Cuts a layer into blocks of bounded size without parting a key's pair.
fn cut(layer: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut out: Vec<Vec<Entry>> = vec![Vec::new()];
    for entry in layer {
        if let Some(block) = out.last_mut() {
            let continues = block.last().is_some_and(|last| last.resource_id == entry.resource_id);
            if block.len() < BLOCK_ROWS_MAX || continues {
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

    fn shape(entries: &[Entry]) -> Vec<Vec<(String, i8)>> {
        let named = |e: &Entry| (e.resource_id.clone(), e.sign);
        blocks(entries).iter().map(|block| block.iter().map(named).collect()).collect()
    }

    #[test]
    fn changes_of_healthy_keys_are_one_block() {
        let entries = [entry("a", -1), entry("a", 1), entry("b", 1), entry("c", -1)];
        assert_eq!(shape(&entries).len(), 1);
    }

    #[test]
    fn a_second_row_of_a_sign_goes_in_a_later_block() {
        let entries =
            [entry("a", -1), entry("a", -1), entry("a", 1), entry("b", -1), entry("b", 1)];
        let of = |id: &str, sign| (id.to_owned(), sign);
        assert_eq!(
            shape(&entries),
            [vec![of("a", -1), of("b", -1), of("b", 1)], vec![of("a", -1), of("a", 1)]]
        );
    }
}
