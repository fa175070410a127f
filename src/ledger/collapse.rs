//! CollapsingMergeTree's rule, for the ledgers that are not ClickHouse.

/// Which of one key's rows a merge keeps, given their signs in the order of their writing: the
/// last +1 where there are more of them, the first -1 where there are more of those, both where
/// they are equally many and a +1 comes last, else none. Positions, ascending.
#[must_use]
pub fn kept_by_merge(signs: &[i8]) -> Vec<usize> {
    let positive = signs.iter().filter(|sign| **sign == 1).count();
    let negative = signs.len() - positive;
    let last_is_positive = signs.last().is_some_and(|sign| *sign == 1);
    if positive == negative && !last_is_positive {
        return Vec::new();
    }
    let mut kept = Vec::new();
    if positive <= negative {
        kept.extend(signs.iter().position(|sign| *sign == -1));
    }
    if positive >= negative {
        kept.extend(signs.iter().rposition(|sign| *sign == 1));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::kept_by_merge;

    #[test]
    fn what_is_kept_follows_from_the_counts_and_the_last_sign() {
        let none: &[usize] = &[];
        for (signs, kept) in [
            (&[][..], none),
            (&[1], &[0]),
            (&[-1], &[0]),
            (&[1, -1], none),
            (&[-1, 1], &[0, 1]),
            (&[1, 1], &[1]),
            (&[1, -1, 1], &[2]),
            (&[-1, -1, 1], &[0]),
            (&[1, -1, -1, 1], &[1, 3]),
        ] {
            assert_eq!(kept_by_merge(signs), kept, "{signs:?}");
        }
    }
}
