//! Tags that follow Kubernetes labels, beside those that users gave.
//!
//! A document's record (`label_tags`) holds the tags that this program set, with their values. Only
//! a tag that still has the recorded value is ever changed or removed: one that a user changed, or
//! removed, is the user's from then on.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Tags by their encoded keys.
pub type Tags = BTreeMap<String, String>;

/// The field with the record of tags that this program set.
pub const RECORD_KEY: &str = "label_tags";
/// Most tags that one resource gets from its labels, the first by name.
pub const TAGS_MAX: usize = 32;

/// What changes about a document's tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagUpdate {
    /// Tags to set.
    pub set: Tags,
    /// Encoded keys of tags to remove.
    pub unset: Vec<String>,
    /// The record as it is afterwards, where it changes.
    pub record: Option<Tags>,
    /// Whether the document has no object of tags yet.
    pub makes_tags: bool,
}

impl TagUpdate {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.unset.is_empty() && self.record.is_none()
    }
}

/// The tags of labels: keys encoded as CloudTuner has them (standard base64).
#[must_use]
pub fn of_labels(labels: &BTreeMap<String, String>) -> Tags {
    let one = |(key, value): (&String, &String)| (BASE64_STANDARD.encode(key), value.clone());
    labels.iter().filter(|(key, _)| !key.is_empty()).take(TAGS_MAX).map(one).collect()
}

/// Tags with plain keys, as the REST API takes them.
#[must_use]
pub fn plain(tags: &Tags) -> BTreeMap<String, String> {
    let decoded = |key: &String| String::from_utf8(BASE64_STANDARD.decode(key).ok()?).ok();
    tags.iter().filter_map(|(key, value)| Some((decoded(key)?, value.clone()))).collect()
}

/// What makes a document's tags follow `wanted`, where this program's record says which are its own.
#[must_use]
pub fn tag_update(stored: Option<&Tags>, record: &Tags, wanted: &Tags) -> TagUpdate {
    let none = Tags::new();
    let mut out = TagUpdate { makes_tags: stored.is_none(), ..TagUpdate::default() };
    let stored = stored.unwrap_or(&none);
    let mut kept = record.clone();
    for (key, value) in wanted {
        match (stored.get(key), record.get(key)) {
            // Ours, and as it was set.
            (Some(is), Some(was)) if is == was => {
                if is != value {
                    out.set.insert(key.clone(), value.clone());
                    kept.insert(key.clone(), value.clone());
                }
            }
            // A user's, by now or from the beginning.
            (Some(_), _) => drop(kept.remove(key)),
            // A user removed it: it stays away until the label says something new.
            (None, Some(was)) if was == value => {}
            (None, _) => {
                out.set.insert(key.clone(), value.clone());
                kept.insert(key.clone(), value.clone());
            }
        }
    }
    for (key, was) in record.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
        if stored.get(key) == Some(was) {
            out.unset.push(key.clone());
        }
        kept.remove(key);
    }
    out.record = (kept != *record).then_some(kept);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn after(stored: &Tags, update: &TagUpdate) -> Tags {
        let mut tags = stored.clone();
        update.unset.iter().for_each(|key| drop(tags.remove(key)));
        tags.extend(update.set.clone());
        tags
    }

    #[test]
    fn tags_follow_their_labels_and_a_label_that_goes_takes_its_tag_along() {
        let first = tag_update(Some(&tags(&[])), &tags(&[]), &tags(&[("a", "1"), ("b", "2")]));
        assert_eq!(first.set, tags(&[("a", "1"), ("b", "2")]));
        let record = first.record.unwrap();
        let next = tag_update(Some(&first.set), &record, &tags(&[("a", "9")]));
        assert_eq!((next.set, next.unset), (tags(&[("a", "9")]), vec!["b".to_owned()]));
        assert_eq!(next.record, Some(tags(&[("a", "9")])));
        let same = tag_update(Some(&first.set), &record, &first.set);
        assert!(same.is_empty());
    }

    #[test]
    fn a_users_tag_is_neither_changed_nor_removed() {
        let stored = tags(&[("own", "x"), ("edited", "mine"), ("same", "1")]);
        let record = tags(&[("edited", "label"), ("removed", "1")]);
        let wanted =
            tags(&[("own", "label"), ("edited", "label"), ("same", "1"), ("removed", "1")]);
        let update = tag_update(Some(&stored), &record, &wanted);
        assert_eq!((&update.set, &update.unset), (&tags(&[]), &vec![]));
        assert_eq!(update.record, Some(tags(&[("removed", "1")])));
        let gone = tag_update(Some(&stored), &record, &tags(&[]));
        assert_eq!((&gone.set, &gone.unset), (&tags(&[]), &vec![]));
        assert_eq!(gone.record, Some(tags(&[])));
        let renamed = tag_update(Some(&stored), &record, &tags(&[("removed", "2")]));
        assert_eq!(renamed.set, tags(&[("removed", "2")]));
    }

    #[test]
    fn a_document_without_an_object_of_tags_gets_one() {
        assert!(tag_update(None, &tags(&[]), &tags(&[("a", "1")])).makes_tags);
        assert!(!tag_update(Some(&tags(&[])), &tags(&[]), &tags(&[("a", "1")])).makes_tags);
    }

    proptest! {
        #[test]
        fn every_key_is_standard_base64_of_its_label(
            labels in prop::collection::btree_map(".{1,40}", ".{0,20}", 0..50),
        ) {
            let made = of_labels(&labels);
            prop_assert!(plain(&made).iter().eq(labels.iter().take(TAGS_MAX)));
            prop_assert!(made.len() <= TAGS_MAX && made.len() == labels.len().min(TAGS_MAX));
            for (key, value) in made {
                prop_assert!(!key.contains(['.', '$']) && key.len().is_multiple_of(4));
                let label = String::from_utf8(BASE64_STANDARD.decode(&key).unwrap()).unwrap();
                prop_assert_eq!(&labels[&label], &value);
            }
        }

        /// Whatever was there: what is not this program's by its record stays, bit for bit, and
        /// doing it twice does it once.
        #[test]
        fn only_recorded_tags_change_and_a_second_time_changes_nothing(
            stored in prop::collection::btree_map("[a-d]", "[xyz]", 0..4),
            record in prop::collection::btree_map("[a-d]", "[xyz]", 0..4),
            wanted in prop::collection::btree_map("[a-d]", "[xyz]", 0..4),
        ) {
            let update = tag_update(Some(&stored), &record, &wanted);
            let now = after(&stored, &update);
            for (key, value) in &stored {
                if record.get(key) != Some(value) {
                    prop_assert_eq!(now.get(key), Some(value));
                }
            }
            let kept = update.record.unwrap_or(record);
            prop_assert!(tag_update(Some(&now), &kept, &wanted).is_empty());
        }
    }
}
