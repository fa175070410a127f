//! Replies of the Prometheus HTTP API, read as a stream: series are kept, the text is not.

use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::source::labels::Labels;

/// Most series of a reply: five for each resource that an account may have by default. Beyond it
/// memory would not hold it.
const SERIES_MAX: usize = 250_000;

/// Most warnings of a reply that are kept: a server sends a few.
pub const NOTES_MAX: usize = 1_000;

/// One series of a reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Its points, Unix seconds and value: one for a vector, any number for a matrix.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// A label's value; empty when the series has no such label.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).unwrap_or_default()
    }

    /// The first point's value.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        self.points.first().map(|(_, value)| *value)
    }

    /// The series as people write it, without its points.
    #[must_use]
    pub fn shown(&self) -> String {
        shown_labels(&self.labels)
    }
}

/// Labels as people write them.
pub(super) fn shown_labels(labels: &Labels) -> String {
    let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
    crate::service::failure::excerpt(&format!("{{{}}}", labels.join(",")))
}

/// The parts of a reply that matter.
#[derive(Debug, Default, Deserialize)]
pub struct Reply {
    /// `success` or `error`.
    #[serde(default)]
    pub status: String,
    /// The result, for `success`.
    #[serde(default)]
    pub data: Option<Data>,
    /// `timeout`, `execution`, `bad_data`, ...
    #[serde(default, rename = "errorType")]
    pub error_type: String,
    /// What went wrong.
    #[serde(default)]
    pub error: String,
    /// What may be missing from the result; at most [`NOTES_MAX`] of them, and how many more.
    #[serde(default, deserialize_with = "notes")]
    pub warnings: Option<Vec<String>>,
    /// Thanos' and Prometheus' notes: on the query, or on what may be missing; as many of them.
    #[serde(default, deserialize_with = "notes")]
    pub infos: Option<Vec<String>>,
    /// VictoriaMetrics: a storage node did not answer.
    #[serde(default, rename = "isPartial")]
    pub is_partial: Option<bool>,
}

impl Reply {
    /// What the server says may be missing from the result, a sentence each.
    #[must_use]
    pub fn what_is_missing(&self) -> Vec<String> {
        let infos = self.infos.iter().flatten();
        let of_data = infos.filter(|info| !info.starts_with("PromQL info"));
        let mut missing: Vec<String> =
            self.warnings.iter().flatten().chain(of_data).cloned().collect();
        if self.is_partial == Some(true) {
            missing.push("the answer is partial (isPartial): a storage node is away".to_owned());
        }
        missing
    }
}

/// The result of a query.
#[derive(Debug, Default, Deserialize)]
pub struct Data {
    /// `vector`, `matrix`, `scalar` or `string`.
    #[serde(default, rename = "resultType")]
    pub result_type: String,
    /// The series.
    #[serde(default, deserialize_with = "series_list")]
    pub result: Vec<Series>,
}

/// Sentences of a server, the first [`NOTES_MAX`] of them. More are one sentence: that something may be
/// missing is not lost.
struct Notes(Vec<String>);

impl<'de> Deserialize<'de> for Notes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Notes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of sentences")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Notes, A::Error> {
                let mut list = Vec::new();
                while list.len() < NOTES_MAX {
                    let Some(note) = items.next_element()? else { return Ok(Notes(list)) };
                    list.push(note);
                }
                let mut more = 0_u64;
                while items.next_element::<de::IgnoredAny>()?.is_some() {
                    more += 1;
                }
                if more > 0 {
                    list.push(format!("and {more} more warnings or notes"));
                }
                Ok(Notes(list))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

fn notes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Ok(Option::<Notes>::deserialize(deserializer)?.map(|notes| notes.0))
}

/// What a list of results may hold: a series, or the parts of a scalar.
enum Item {
    Series(Series),
    Scalar,
}

fn series_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Series>, D::Error> {
    struct List;
    impl<'de> Visitor<'de> for List {
        type Value = Vec<Series>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of series")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element::<Item>()? {
                if list.len() == SERIES_MAX {
                    let what = format!("it has more than {SERIES_MAX} series");
                    return Err(serde::de::Error::custom(what));
                }
                if let Item::Series(series) = item {
                    list.push(series);
                }
            }
            Ok(list)
        }
    }
    deserializer.deserialize_any(List)
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;
        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a series")
            }

            fn visit_f64<E>(self, _: f64) -> Result<Item, E> {
                Ok(Item::Scalar)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Item, E> {
                Ok(Item::Scalar)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Item, E> {
                Ok(Item::Scalar)
            }

            fn visit_str<E>(self, _: &str) -> Result<Item, E> {
                Ok(Item::Scalar)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item, A::Error> {
                let raw = RawSeries::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let points = match raw.value {
                    Some(point) => vec![point.0],
                    None => raw.values.into_iter().map(|point| point.0).collect(),
                };
                Ok(Item::Series(Series { labels: raw.metric, points }))
            }
        }
        deserializer.deserialize_any(ItemVisitor)
    }
}

#[derive(Deserialize)]
struct RawSeries {
    #[serde(default)]
    metric: Labels,
    #[serde(default)]
    value: Option<Point>,
    #[serde(default)]
    values: Vec<Point>,
}

/// `[1795132800, "0.25"]`; the value may be `NaN`, `+Inf` or `-Inf`.
struct Point((f64, f64));

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (time, value): (f64, SampleValue) = Deserialize::deserialize(deserializer)?;
        Ok(Self((time, value.0)))
    }
}

struct SampleValue(f64);

impl<'de> Deserialize<'de> for SampleValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl Visitor<'_> for ValueVisitor {
            type Value = SampleValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sample's value as a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SampleValue, E> {
                Ok(SampleValue(match text {
                    "NaN" => f64::NAN,
                    "+Inf" | "Inf" => f64::INFINITY,
                    "-Inf" => f64::NEG_INFINITY,
                    number => number
                        .parse()
                        .map_err(|_| E::custom(format!("'{number}' is no sample value")))?,
                }))
            }
        }
        deserializer.deserialize_str(ValueVisitor)
    }
}

/// Why a reply could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// It is longer than allowed.
    #[error("is longer than {0} bytes")]
    TooLong(u64),
    /// It would take more memory than allowed.
    #[error("would take more than {} MiB of memory", MEMORY_MAX >> 20)]
    TooMuch,
    /// The connection ended before the reply did, or took too long.
    #[error("broke off: {1}")]
    Broken(std::io::ErrorKind, String),
    /// It is no JSON of the form that is documented.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

/// Most memory that a reply's values may take, bytes, as [`Weighed`] estimates it: about 140 000
/// pods.
const MEMORY_MAX: u64 = 144 << 20;
/// What a map takes beside its text, bytes. A series is two: itself and its labels, which take less:
/// a reply is refused too early rather than too late.
const MAP_BYTES: u64 = 290;
/// What a label, a point or a member of a list takes beside its text, bytes.
const ITEM_BYTES: u64 = 64;

/// Counts a JSON text and what its values will take in memory, which is many times more where
/// they are small, and ends it where either is too much.
struct Weighed<R> {
    source: R,
    bytes_left: u64,
    memory_left: u64,
}

impl<R: Read> Read for Weighed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.bytes_left == 0 || self.memory_left == 0 {
            return Ok(0);
        }
        let most = usize::try_from(self.bytes_left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.source.read(&mut buffer[..most])?;
        let weight: u64 = buffer[..count]
            .iter()
            .map(|byte| match byte {
                b'{' => MAP_BYTES,
                b',' => ITEM_BYTES,
                _ => 1,
            })
            .sum();
        self.bytes_left = self.bytes_left.saturating_sub(count as u64);
        self.memory_left = self.memory_left.saturating_sub(weight);
        Ok(count)
    }
}

/// Reads one JSON text of at most `bytes_max` bytes, and of bounded size in memory.
///
/// # Errors
/// [`ReplyError`] when it is larger, breaks off or has another form.
pub fn read_json<T: de::DeserializeOwned>(
    source: impl Read,
    bytes_max: u64,
) -> Result<T, ReplyError> {
    // One byte more than allowed tells a reply that is too long from one that just fits.
    let mut weighed = Weighed { source, bytes_left: bytes_max + 1, memory_left: MEMORY_MAX };
    let parsed = serde_json::from_reader(std::io::BufReader::new(&mut weighed));
    let (is_too_long, is_too_much) = (weighed.bytes_left == 0, weighed.memory_left == 0);
    match parsed {
        Err(error) if error.io_error_kind().is_some() => {
            let kind = error.io_error_kind().unwrap_or(std::io::ErrorKind::Other);
            Err(ReplyError::Broken(kind, error.to_string()))
        }
        // Looked at before the outcome: a text that just fits a buffer is parsed to its end.
        _ if is_too_long => Err(ReplyError::TooLong(bytes_max)),
        _ if is_too_much => Err(ReplyError::TooMuch),
        Err(error) => Err(ReplyError::Unreadable(error.to_string())),
        Ok(read) => Ok(read),
    }
}

/// Reads one reply of at most `bytes_max` bytes.
///
/// # Errors
/// [`ReplyError`] when it is larger, breaks off or has another form.
pub fn read_reply(source: impl Read, bytes_max: u64) -> Result<Reply, ReplyError> {
    read_json(source, bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Reply, ReplyError> {
        read_reply(text.as_bytes(), 1_000)
    }

    #[test]
    fn vectors_and_matrices_are_series() {
        let reply = read(
            r#"{"status":"success","data":{"resultType":"vector","result":[
                {"metric":{"cluster":"c"},"value":[1795132800.5,"0.25"]},
                {"metric":{},"value":[1795132800,"NaN"]}]},"warnings":["w"]}"#,
        )
        .unwrap();
        let data = reply.data.unwrap();
        assert_eq!(data.result[0].label("cluster"), "c");
        assert_eq!(data.result[0].value(), Some(0.25));
        assert!(data.result[1].value().unwrap().is_nan());
        assert_eq!(reply.warnings.unwrap(), ["w"]);
        let reply = read(
            r#"{"status":"success","data":{"result":[
                {"metric":{"a":"b"},"values":[[1,"2"],[3,"+Inf"]]}],"resultType":"matrix"}}"#,
        )
        .unwrap();
        assert_eq!(reply.data.unwrap().result[0].points, [(1.0, 2.0), (3.0, f64::INFINITY)]);
    }

    #[test]
    fn a_flood_of_notes_is_kept_short_and_still_says_that_something_may_be_missing() {
        let kept = |count: usize| {
            let text = format!(r#"{{"warnings":[{}]}}"#, vec![r#""w""#; count].join(","));
            read_reply(text.as_bytes(), 1 << 20).unwrap().warnings.unwrap().len()
        };
        assert_eq!((kept(NOTES_MAX), kept(NOTES_MAX + 1)), (NOTES_MAX, NOTES_MAX + 1));
        assert_eq!(kept(NOTES_MAX + 9), NOTES_MAX + 1);
        let notes = vec![r#""PromQL info: a hint""#; NOTES_MAX + 7].join(",");
        let text = format!(r#"{{"status":"success","infos":[{notes}]}}"#);
        let missing = read_reply(text.as_bytes(), 1 << 20).unwrap().what_is_missing();
        assert_eq!(missing, ["and 7 more warnings or notes"]);
    }

    #[test]
    fn what_is_missing_is_said_in_every_dialect() {
        let of = |more: &str| {
            let text = format!(r#"{{"status":"success",{more},"data":{{"result":[]}}}}"#);
            read(&text).unwrap().what_is_missing().len()
        };
        assert_eq!(of(r#""isPartial":true"#), 1);
        assert_eq!(of(r#""isPartial":false"#), 0);
        assert_eq!(of(r#""warnings":["store away"],"isPartial":true"#), 2);
        assert_eq!(of(r#""infos":["No StoreAPIs matched for this query"]"#), 1);
        assert_eq!(of(r#""infos":["PromQL info: metric might not be a counter"]"#), 0);
        assert_eq!(of(r#""warnings":null,"infos":null,"isPartial":null"#), 0);
    }

    #[test]
    fn a_scalar_is_no_series() {
        let reply = read(r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#);
        let data = reply.unwrap().data.unwrap();
        assert_eq!((data.result_type.as_str(), data.result.len()), ("scalar", 0));
    }

    #[test]
    fn broken_and_overlong_replies_are_errors() {
        for text in ["", "Error", "<html>", r#"{"status":"success","data":{"result":[{"#] {
            assert!(matches!(read(text), Err(ReplyError::Unreadable(_))), "{text}");
        }
        let bad_value = r#"{"status":"success","data":{"result":[{"value":[1,"x"]}]}}"#;
        assert!(matches!(read(bad_value), Err(ReplyError::Unreadable(_))));
        let long = format!(r#"{{"status":"{}"}}"#, "x".repeat(1_000));
        assert!(matches!(read(&long), Err(ReplyError::TooLong(1_000))));
    }

    #[test]
    fn a_text_that_is_small_but_becomes_large_is_an_error() {
        let many = r#"{"metric":{}},"#.repeat(400_000);
        let text = format!(r#"{{"status":"success","data":{{"result":[{many}"#);
        let read = read_reply(text.as_bytes(), 64 << 20);
        assert!(matches!(read, Err(ReplyError::TooMuch)), "{read:?}");
    }
}
