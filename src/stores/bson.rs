//! BSON values, whichever of its types a server or another writer chose. Pure.

use mongodb::bson::Bson;

/// A whole number, of whichever of BSON's types a server or a writer chose.
#[must_use]
pub fn whole(value: Option<&Bson>) -> Option<i64> {
    match value? {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[expect(clippy::cast_possible_truncation, reason = "times and counts")]
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

/// A number, of whichever of BSON's types a writer chose.
#[must_use]
pub fn number(value: Option<&Bson>) -> Option<f64> {
    match value? {
        Bson::Double(number) => Some(*number),
        other => whole(Some(other)).map(|number| number as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_all_their_types_and_from_nothing_else() {
        for seven in [Bson::Int32(7), Bson::Int64(7), Bson::Double(7.0)] {
            assert_eq!((whole(Some(&seven)), number(Some(&seven))), (Some(7), Some(7.0)));
        }
        assert_eq!(number(Some(&Bson::Double(0.5))), Some(0.5));
        for none in [None, Some(&Bson::Null), Some(&Bson::String("7".into()))] {
            assert_eq!((whole(none), number(none)), (None, None));
        }
    }
}
