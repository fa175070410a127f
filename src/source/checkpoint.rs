//! Answers about the part of a running day that is over, kept so that it is asked for once.
//!
//! A checkpoint is a cache: without it, or with one that cannot be read, everything is asked again.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use crate::cost::Day;
use crate::source::labels::Labels;

/// The longest stored form, bytes: about 40 000 values. A day that needs more is asked for whole.
pub const STORED_BYTES_MAX: usize = 1 << 20;
/// What is surely longer than that is not packed to find out.
const VALUES_MAX: usize = 100_000;
/// The longest form that is read back, bytes, unpacked.
const UNPACKED_BYTES_MAX: u64 = 64 << 20;

/// The values of an answer, by the labels of their series.
pub type Values = BTreeMap<Labels, f64>;

/// What was answered about a day up to a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The day.
    pub day: Day,
    /// The time before which the answers are, Unix seconds.
    pub until: i64,
    /// How many samples the day had before that time, of the metrics that are counted: where there
    /// are more by now, the answers are of no use.
    pub samples: u64,
    /// The answers by question.
    pub answers: BTreeMap<String, Answer>,
}

/// The answer to a question about the time up to a checkpoint's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// From when on it was asked, Unix seconds.
    pub start: i64,
    /// Up to when it was asked, Unix seconds: not later than the checkpoint's time.
    pub until: i64,
    /// What came back.
    pub values: Values,
}

/// The stored form. Values are bits: JSON has no infinity, and a sum must come back to the last one.
#[derive(Serialize, Deserialize)]
struct StoredForm {
    day: Day,
    until: i64,
    samples: u64,
    answers: BTreeMap<String, StoredAnswer>,
}

#[derive(Serialize, Deserialize)]
struct StoredAnswer {
    start: i64,
    /// Earlier versions do not say it: the checkpoint's.
    #[serde(default)]
    until: Option<i64>,
    values: Vec<(Labels, u64)>,
}

impl Checkpoint {
    /// Whether it has more values than could be stored, however they are packed.
    #[must_use]
    pub fn has_too_many_values(&self) -> bool {
        self.answers.values().map(|answer| answer.values.len()).sum::<usize>() > VALUES_MAX
    }

    /// The text to store; `None` where it would be longer than [`STORED_BYTES_MAX`].
    #[must_use]
    pub fn encoded(&self) -> Option<String> {
        let answer = |answer: &Answer| StoredAnswer {
            start: answer.start,
            until: Some(answer.until),
            values: answer.values.iter().map(|(one, usd)| (one.clone(), usd.to_bits())).collect(),
        };
        let answers = self.answers.iter().map(|(name, one)| (name.clone(), answer(one)));
        let form = StoredForm {
            day: self.day,
            until: self.until,
            samples: self.samples,
            answers: answers.collect(),
        };
        let json = serde_json::to_vec(&form).ok()?;
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&json).ok()?;
        let text = STANDARD.encode(packed.finish().ok()?);
        (text.len() <= STORED_BYTES_MAX).then_some(text)
    }

    /// What was stored; `None` where it cannot be read.
    #[must_use]
    pub fn decoded(text: &str) -> Option<Self> {
        let packed = STANDARD.decode(text).ok()?;
        let mut json = Vec::new();
        GzDecoder::new(packed.as_slice()).take(UNPACKED_BYTES_MAX).read_to_end(&mut json).ok()?;
        let form: StoredForm = serde_json::from_slice(&json).ok()?;
        let answer = |answer: StoredAnswer| Answer {
            start: answer.start,
            until: answer.until.unwrap_or(form.until).min(form.until),
            values: answer
                .values
                .into_iter()
                .map(|(labels, bits)| (labels, f64::from_bits(bits)))
                .collect(),
        };
        let answers = form.answers.into_iter().map(|(name, one)| (name, answer(one)));
        Some(Self {
            day: form.day,
            until: form.until,
            samples: form.samples,
            answers: answers.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(values: Vec<(String, f64)>) -> Checkpoint {
        let one = |(name, usd): (String, f64)| (Labels::from_iter([("pod", name)]), usd);
        let answer =
            Answer { start: -5, until: 2_700, values: values.into_iter().map(one).collect() };
        Checkpoint {
            day: "2026-11-20".parse().unwrap(),
            until: 3_600,
            samples: 7,
            answers: BTreeMap::from([("question".to_owned(), answer)]),
        }
    }

    fn bits(checkpoint: &Checkpoint) -> Vec<(Labels, u64)> {
        let answer = &checkpoint.answers["question"];
        answer.values.iter().map(|(labels, usd)| (labels.clone(), usd.to_bits())).collect()
    }

    #[test]
    fn what_is_no_checkpoint_is_none() {
        for text in ["", "?", "AAAA", &STANDARD.encode("{}")] {
            assert_eq!(Checkpoint::decoded(text), None, "{text}");
        }
    }

    #[test]
    fn a_checkpoint_that_is_too_long_is_not_kept() {
        let many = (0..20_000).map(|number| (format!("{:x}", number * 7_919), number as f64));
        let mut checkpoint = with(many.collect());
        assert!(checkpoint.encoded().is_some() && !checkpoint.has_too_many_values());
        let one = checkpoint.answers["question"].clone();
        for number in 0..40_u32 {
            let mut other = one.clone();
            for (index, usd) in other.values.values_mut().enumerate() {
                *usd = f64::from(number).mul_add(0.1, 1.0 / (index as f64 + 0.3));
            }
            checkpoint.answers.insert(number.to_string(), other);
        }
        assert_eq!(checkpoint.encoded(), None);
        assert!(checkpoint.has_too_many_values());
    }

    proptest! {
        #[test]
        fn values_come_back_to_the_last_bit(
            values in proptest::collection::vec((".{0,9}", any::<u64>()), 0..9),
        ) {
            let of_bits = |(name, bits)| (name, f64::from_bits(bits));
            let checkpoint = with(values.into_iter().map(of_bits).collect());
            let back = Checkpoint::decoded(&checkpoint.encoded().unwrap()).unwrap();
            prop_assert_eq!(bits(&back), bits(&checkpoint));
            prop_assert_eq!((back.day, back.until, back.samples), (checkpoint.day, 3_600, 7));
            prop_assert_eq!(back.answers["question"].until, 2_700);
        }
    }

    #[test]
    fn an_answer_of_an_earlier_version_is_up_to_the_checkpoints_time() {
        let form = r#"{"day":"2026-11-20","until":3600,"samples":7,
            "answers":{"question":{"start":-5,"values":[[{"pod":"web"},4607182418800017408]]}}}"#;
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(form.as_bytes()).unwrap();
        let back = Checkpoint::decoded(&STANDARD.encode(packed.finish().unwrap())).unwrap();
        let answer = &back.answers["question"];
        assert_eq!((answer.start, answer.until), (-5, 3_600));
        assert_eq!(answer.values.values().copied().collect::<Vec<_>>(), [1.0]);
    }
}
