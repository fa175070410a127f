//! Labels of a series, in little memory: a large account's day has hundreds of thousands of series,
//! and each is read, grouped and thrown away several times.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Labels of a series, in the order of their names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// Name, value, name, value and so on.
    text: Box<str>,
    /// Where each of them ends.
    ends: Box<[u32]>,
}

impl Labels {
    /// A label's value, if the series has the label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        // Names are in order. A customer's series may have thousands of labels.
        let (mut first, mut last) = (0, self.ends.len() / 2);
        while first < last {
            let middle = first.midpoint(last);
            match self.text(2 * middle).cmp(name) {
                Ordering::Less => first = middle + 1,
                Ordering::Greater => last = middle,
                Ordering::Equal => return Some(self.text(2 * middle + 1)),
            }
        }
        None
    }

    /// The name or value at a place, counted from 0.
    fn text(&self, place: usize) -> &str {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.get(start as usize..self.ends[place] as usize).unwrap_or_default()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        (0..self.ends.len()).step_by(2).map(|place| (self.text(place), self.text(place + 1)))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Takes a label away.
    pub fn remove(&mut self, name: &str) {
        if self.get(name).is_some() {
            *self = self.iter().filter(|(known, _)| *known != name).collect();
        }
    }
}

/// As maps are ordered: by the first name or value that differs.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        // Those that end at the same places are compared at once.
        let aligned = self.ends.iter().zip(&other.ends).take_while(|(one, two)| one == two).count();
        let bytes = aligned.checked_sub(1).map_or(0, |last| self.ends[last] as usize);
        let own = self.text.get(..bytes).unwrap_or(&self.text);
        let others = other.text.get(..bytes).unwrap_or(&other.text);
        let next = (aligned < self.ends.len()).then(|| self.text(aligned));
        let other_next = (aligned < other.ends.len()).then(|| other.text(aligned));
        own.cmp(others).then_with(|| next.cmp(&other_next))
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Of a name that comes twice, the last value counts.
impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut builder = Builder::default();
        for (name, value) in pairs {
            builder.text.push_str(name.as_ref());
            builder.end();
            builder.text.push_str(value.as_ref());
            builder.end();
        }
        builder.finish()
    }
}

/// Labels as they come, whose names may be in any order.
#[derive(Default)]
struct Builder {
    text: String,
    ends: Vec<u32>,
}

impl Builder {
    /// Ends a name or a value. Replies are shorter than what `u32` can count.
    fn end(&mut self) {
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
    }

    fn finish(self) -> Labels {
        let labels = Labels { text: self.text.into(), ends: self.ends.into() };
        if labels.iter().is_sorted_by(|(one, _), (next, _)| one < next) {
            return labels;
        }
        labels.iter().collect::<BTreeMap<_, _>>().into_iter().collect()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelsVisitor;
        impl<'de> Visitor<'de> for LabelsVisitor {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels and their values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                // As many bytes as the labels of a pod mostly have.
                let mut builder =
                    Builder { text: String::with_capacity(256), ends: Vec::with_capacity(20) };
                while map.next_key_seed(Text(&mut builder.text))?.is_some() {
                    builder.end();
                    map.next_value_seed(Text(&mut builder.text))?;
                    builder.end();
                }
                Ok(builder.finish())
            }
        }
        deserializer.deserialize_map(LabelsVisitor)
    }
}

/// Puts a text at the end of another.
struct Text<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Map = BTreeMap<String, String>;

    fn maps() -> impl Strategy<Value = Map> {
        proptest::collection::btree_map("[a-c]{0,2}|.{0,3}", "[a-c]{0,2}|.{0,3}", 0..5)
    }

    proptest! {
        #[test]
        fn they_are_what_a_map_of_texts_is(one in maps(), other in maps()) {
            let labels = |map: &Map| map.iter().rev().collect::<Labels>();
            let of_one = labels(&one);
            let back: Map = of_one.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(&back, &one);
            prop_assert_eq!(of_one.is_empty(), one.is_empty());
            prop_assert_eq!(of_one.cmp(&labels(&other)), one.cmp(&other));
            prop_assert_eq!(of_one == labels(&other), one == other);
            for name in one.keys().chain(other.keys()) {
                prop_assert_eq!(of_one.get(name), one.get(name).map(String::as_str));
                let (mut without, mut map) = (of_one.clone(), one.clone());
                without.remove(name);
                map.remove(name);
                prop_assert_eq!(without, labels(&map));
            }
            let json = serde_json::to_string(&of_one).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&one).unwrap());
            prop_assert_eq!(serde_json::from_str::<Labels>(&json).unwrap(), of_one);
        }
    }

    #[test]
    fn of_a_name_that_comes_twice_the_last_value_counts() {
        let labels: Labels = serde_json::from_str(r#"{"b":"1","a":"2","b":"3"}"#).unwrap();
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert!(serde_json::from_str::<Labels>(r#"{"a":1}"#).is_err());
    }
}
