//! Questions about fewer series at a time, for servers that bound how many series or samples a
//! question may touch and to which a shorter time is no help: VictoriaMetrics counts whole blocks
//! of samples, others count series.
//!
//! Nobody knows the names beforehand, so series are parted by the bits of the last characters of
//! a label's value: what has the bit, and what has not. So each series is in one part, whatever it
//! is called.

use crate::source::metric_names::{
    CPU_ALLOCATION, GPU_ALLOCATION, NAMESPACE_TOTAL, POD_TOTAL, RAM_ALLOCATION,
};

/// How many halves of halves a part may be at the most.
const DEPTH_MAX: usize = 100;
/// How often a day's questions have series halved at the most.
pub(super) const HALVINGS_MAX: usize = 1_000;
/// Encloses, in a query, the labels by which a selector's series can be parted. Quoted texts hold
/// no control characters.
const MARK: char = '\u{1}';
/// The characters of Kubernetes' names that are told apart; all others have no bit.
const CHARACTERS: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
/// Bits in which those characters differ.
const BITS: usize = 5;

/// What stands for a part's matchers in a selector of a metric, if its series can be parted.
pub(super) fn placeholder(metric: &str) -> Option<String> {
    let labels = match metric {
        // A selector of several metrics.
        "" => "pod,namespace",
        NAMESPACE_TOTAL => "namespace",
        POD_TOTAL | CPU_ALLOCATION | RAM_ALLOCATION | GPU_ALLOCATION => "pod",
        _ => return None,
    };
    Some(format!("{MARK}{labels}{MARK}"))
}

/// By which labels a query's series can be parted: queries of one kind have the same parts. `None`
/// where they cannot.
pub(super) fn kind(query: &str) -> Option<String> {
    let mut labels: Vec<&str> = query.split(MARK).skip(1).step_by(2).collect();
    labels.dedup();
    (!labels.is_empty()).then(|| labels.join(";"))
}

/// A part of a question's series: a half of a half and so on, all of them at first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SeriesPart {
    /// Of each halving, whether this is the half with the bit.
    halves: Vec<bool>,
}

impl SeriesPart {
    /// The two halves of the part; `None` where it is small enough as it is.
    pub(super) fn halved(&self) -> Option<[Self; 2]> {
        let half =
            |has_bit: bool| Self { halves: self.halves.iter().copied().chain([has_bit]).collect() };
        (self.halves.len() < DEPTH_MAX).then(|| [half(false), half(true)])
    }

    /// The query, about this part only.
    pub(super) fn of(&self, query: &str) -> String {
        let mut out = String::with_capacity(query.len());
        for (index, piece) in query.split(MARK).enumerate() {
            if index % 2 == 1 {
                if self.halves.is_empty() && out.ends_with(',') {
                    out.pop();
                }
                out.push_str(&self.matchers(piece));
            } else if index > 0 && self.halves.is_empty() && out.ends_with('{') {
                // Without matchers, no comma is left over.
                out.push_str(piece.trim_start_matches(','));
            } else {
                out.push_str(piece);
            }
        }
        out
    }

    fn matchers(&self, labels: &str) -> String {
        let labels: Vec<&str> = labels.split(',').collect();
        let each = self.halves.iter().enumerate();
        let all = each.map(|(level, has_bit)| {
            let label = labels[level % labels.len()];
            matcher(label, place(level / labels.len()), *has_bit)
        });
        all.collect::<Vec<_>>().join(",")
    }
}

/// The characters' places from the end, and their bits, in turns, so that names that differ in
/// their last characters, in one of them only, or far from the end are all told apart.
fn place(turn: usize) -> (usize, usize) {
    let order = (0..).flat_map(|sum| (0..BITS.min(sum + 1)).map(move |bit| (sum - bit, bit)));
    order.into_iter().nth(turn).unwrap_or_default()
}

/// One half of a halving: values whose character has the bit, or all others.
fn matcher(label: &str, (position, bit): (usize, usize), has_bit: bool) -> String {
    let class: String = CHARACTERS.chars().filter(|one| u32::from(*one) >> bit & 1 == 1).collect();
    let rest = match position {
        0 => String::new(),
        _ => format!(".{{{position}}}"),
    };
    let operator = if has_bit { "=~" } else { "!~" };
    format!("{label}{operator}\".*[{class}]{rest}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_query_that_is_not_halved_has_no_trace_of_it() {
        let marked = placeholder(NAMESPACE_TOTAL).unwrap();
        let of =
            |matchers: &str| SeriesPart::default().of(&format!("sum(m{{{matchers}}}) + n{{}}"));
        assert_eq!(of(&marked), "sum(m{}) + n{}");
        assert_eq!(of(&format!("a=\"b\",{marked}")), "sum(m{a=\"b\"}) + n{}");
        assert_eq!(of(&format!("{marked},a=\"b\"")), "sum(m{a=\"b\"}) + n{}");
        assert_eq!(of(&format!("a=\"b\",{marked},c=\"d\"")), "sum(m{a=\"b\",c=\"d\"}) + n{}");
        let odd = format!("a=\"x,}}y\",{marked}");
        assert_eq!(of(&odd), "sum(m{a=\"x,}y\"}) + n{}", "a value keeps what it has");
        assert_eq!(kind("m{a=\"b\"}"), None);
    }

    #[test]
    fn halves_are_those_with_a_bit_and_all_others() {
        let query = format!("m{{a=\"b\",{}}}", placeholder(POD_TOTAL).unwrap());
        assert_eq!(kind(&query).as_deref(), Some("pod"));
        let odd = "acegikmoqsuwy13579";
        let [others, with] = SeriesPart::default().halved().unwrap();
        assert_eq!(others.of(&query), format!("m{{a=\"b\",pod!~\".*[{odd}]\"}}"));
        assert_eq!(with.of(&query), format!("m{{a=\"b\",pod=~\".*[{odd}]\"}}"));
        let [_, finer] = with.halved().unwrap();
        let last = format!(",pod=~\".*[{odd}].{{1}}\"}}");
        assert!(finer.of(&query).ends_with(&last), "{}", finer.of(&query));
    }

    #[test]
    fn all_places_and_bits_have_their_turn() {
        let turns: Vec<_> = (0..DEPTH_MAX / 2).map(place).collect();
        assert_eq!(turns[..4], [(0, 0), (1, 0), (0, 1), (2, 0)]);
        for wanted in (0..8).flat_map(|position| (0..BITS).map(move |bit| (position, bit))) {
            assert_eq!(turns.iter().filter(|one| **one == wanted).count(), 1, "{wanted:?}");
        }
    }

    /// Whether a matcher of a part takes a value, as a server's regular expression does.
    fn takes(matcher: &str, value: &str) -> bool {
        let (_, pattern) = matcher.split_once("\".*[").unwrap();
        let (class, rest) = pattern.split_once(']').unwrap();
        let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
        let position = digits.parse().unwrap_or(0);
        let has_bit = value.chars().rev().nth(position).is_some_and(|one| class.contains(one));
        has_bit == matcher.contains("=~")
    }

    proptest! {
        #[test]
        fn each_series_is_in_one_part(
            names in proptest::collection::btree_set("[a-z0-9._A-Z-]{0,12}|.{0,6}", 1..30),
            choices in proptest::collection::vec(any::<usize>(), 0..40),
        ) {
            let mut parts = vec![SeriesPart::default()];
            for choice in choices {
                let part = parts.swap_remove(choice % parts.len());
                parts.extend(part.halved().unwrap());
            }
            let query = format!("m{{{}}}", placeholder(POD_TOTAL).unwrap());
            let mut seen: BTreeMap<&String, u32> = BTreeMap::new();
            for part in parts {
                let part = part.of(&query);
                let inside = part.trim_start_matches("m{").trim_end_matches('}');
                let matchers: Vec<&str> = inside.split(',').filter(|one| !one.is_empty()).collect();
                for name in &names {
                    if matchers.iter().all(|matcher| takes(matcher, name)) {
                        *seen.entry(name).or_default() += 1;
                    }
                }
            }
            for name in &names {
                prop_assert_eq!(seen.get(name), Some(&1));
            }
        }
    }
}
