//! Numbers and texts as the API writes them: any of them may be null, absent or nonsense.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What stood where a number belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Number {
    /// Nothing: the field is missing.
    #[default]
    Absent,
    /// `null`: how both products write NaN and infinity.
    Null,
    /// A number.
    Value(f64),
    /// Something that is no number.
    Nonsense,
}

impl Number {
    /// The number, `-0` as `0`.
    pub(super) fn value(self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(value + 0.0),
            _ => None,
        }
    }

    /// Whether there is something that is no number: not the same as nothing.
    pub(super) fn is_unknown(self) -> bool {
        matches!(self, Self::Null | Self::Nonsense)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or null")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Number, E> {
        Ok(if value.is_finite() { Number::Value(value) } else { Number::Nonsense })
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Number, E> {
        Ok(Number::Value(value as f64))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Number, E> {
        Ok(Number::Value(value as f64))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Number, E> {
        Ok(Number::Null)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Number, E> {
        Ok(Number::Nonsense)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Number, E> {
        Ok(Number::Nonsense)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Number, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Number::Nonsense)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Number, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Number::Nonsense)
    }
}

/// A text, or nothing where no text stood.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Text(pub(super) Option<Box<str>>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(Some(text.into())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    /// Of a list of texts (`services`) the first stands for all.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Text, A::Error> {
        let first = seq.next_element::<Text>()?.unwrap_or_default();
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_json_value_can_stand_where_a_number_belongs() {
        for (text, number) in [
            ("1.5", Number::Value(1.5)),
            ("-0.000000", Number::Value(0.0)),
            ("1e-7", Number::Value(1e-7)),
            ("-2e25", Number::Value(-2e25)),
            ("18446744073709551615", Number::Value(18_446_744_073_709_551_615.0)),
            ("null", Number::Null),
            ("\"NaN\"", Number::Nonsense),
            ("true", Number::Nonsense),
            ("{\"a\":[1]}", Number::Nonsense),
            ("[1,2]", Number::Nonsense),
        ] {
            assert_eq!(serde_json::from_str::<Number>(text).unwrap(), number, "{text}");
        }
        let zero = serde_json::from_str::<Number>("-0.0").unwrap().value().unwrap();
        assert!(zero.is_sign_positive());
    }

    #[test]
    fn only_texts_are_texts() {
        for (text, value) in [("\"a\"", Some("a")), ("null", None), ("7", None), ("{}", None)] {
            let read = serde_json::from_str::<Text>(text).unwrap();
            assert_eq!(read.0.as_deref(), value, "{text}");
        }
        assert_eq!(serde_json::from_str::<Text>("[\"a\",\"b\"]").unwrap().0.as_deref(), Some("a"));
    }
}
