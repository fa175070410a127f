//! A reply of the API as sets of rows.
//!
//! Every shape that was met in the field is read or refused with its reason: leading empty sets,
//! `[null]`, `data: null`, `code` 500 inside HTTP 200, text before the JSON, HTML, truncation.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use super::number::{Number, Text};
use super::row::{AllocationSet, Fault, Faults, RawRow};
use super::window::Window;
use crate::service::failure::{Failure, Kind, excerpt};

/// Which of the two products answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Kubecost: replies have no `status`.
    Kubecost,
    /// OpenCost: replies have `status`.
    OpenCost,
}

impl Product {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kubecost => "Kubecost",
            Self::OpenCost => "OpenCost",
        }
    }
}

/// A reply whose `code` says success.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Who answers.
    pub product: Product,
    /// One set a step, empty ones included: only their position tells which step they are of.
    pub sets: Vec<AllocationSet>,
    /// What the server warns of.
    pub warning: Option<Box<str>>,
    /// What was odd.
    pub faults: Faults,
    /// The only cluster whose rows were taken.
    pub cluster: Option<Box<str>>,
}

/// Reads a body whose HTTP status was a success.
///
/// # Errors
/// A failure of the query layer: the body's own `code` is an error, or it is not what was asked
/// for.
pub fn parse(body: &[u8]) -> Result<Reply, Failure> {
    let (before, json) = split_text(body);
    let Some(json) = json else {
        let shown = excerpt(&String::from_utf8_lossy(before));
        let kind = if is_html(before) { "an HTML page" } else { "no JSON" };
        return Err(bad_reply(format!("answers {kind}: '{shown}'")));
    };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let envelope = Envelope::deserialize(&mut deserializer)
        .and_then(|envelope| deserializer.end().map(|()| envelope))
        .map_err(|error| {
            let what =
                if error.is_eof() { "JSON that is cut off" } else { "JSON of another shape" };
            bad_reply(format!("answers {what}: {error}"))
        })?;
    if let Some(code) = envelope.code.value()
        && !(200.0..300.0).contains(&code)
    {
        let message = envelope.message.0.unwrap_or_default();
        return Err(code_failure(code, &message));
    }
    if !before.is_empty() {
        let shown = excerpt(&String::from_utf8_lossy(before));
        return Err(bad_reply(format!("answers text before its JSON: '{shown}'")));
    }
    let product = if envelope.status.0.is_some() { Product::OpenCost } else { Product::Kubecost };
    let Data { sets, faults } = envelope.data;
    Ok(Reply { product, sets, warning: envelope.warning.0, faults, cluster: None })
}

/// The currency code in a reply of a product's settings.
#[must_use]
pub fn currency(body: &[u8]) -> Option<String> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Settings {
        currency_code: Text,
    }
    #[derive(Deserialize)]
    struct Configs {
        data: Settings,
    }
    let code = serde_json::from_slice::<Configs>(body).ok()?.data.currency_code.0?;
    let code = code.trim().to_uppercase();
    let is_code = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    is_code.then_some(code)
}

/// What an error reply says: its `message`, or its text, cut to what a log line can bear.
#[must_use]
pub fn error_text(body: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Message {
        message: Text,
    }
    let (before, json) = split_text(body);
    if !before.is_empty() {
        if is_html(before) {
            return "an HTML page".to_owned();
        }
        return excerpt(String::from_utf8_lossy(before).trim());
    }
    json.and_then(|json| serde_json::from_slice::<Message>(json).ok())
        .and_then(|message| message.message.0)
        .map_or_else(String::new, |message| excerpt(&message))
}

fn bad_reply(what: String) -> Failure {
    Failure::query(Kind::BadReply, what, "see that KUBECOST_URL names a Kubecost or an OpenCost")
}

fn code_failure(code: f64, message: &str) -> Failure {
    let what = format!("answers code {code} in its body: '{}'", excerpt(message));
    let fix = "see the log of Kubecost or OpenCost, and its Prometheus";
    Failure::query(if code == 429.0 { Kind::Overloaded } else { Kind::Unavailable }, what, fix)
}

/// The text before the first `{`, trimmed, and what follows.
fn split_text(body: &[u8]) -> (&[u8], Option<&[u8]>) {
    if is_html(body.trim_ascii()) {
        return (body.trim_ascii(), None);
    }
    match body.iter().position(|byte| *byte == b'{') {
        Some(at) => (body[..at].trim_ascii(), Some(&body[at..])),
        None => (body.trim_ascii(), None),
    }
}

fn is_html(text: &[u8]) -> bool {
    text.first() == Some(&b'<')
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Envelope {
    code: Number,
    status: Text,
    data: Data,
    message: Text,
    warning: Text,
}

#[derive(Debug, Default)]
struct Data {
    sets: Vec<AllocationSet>,
    faults: Faults,
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of allocation sets in 'data'")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Data, E> {
        Ok(Data::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Data, A::Error> {
        let mut data = Data::default();
        while let Some(Set { set, faults }) = seq.next_element()? {
            data.sets.push(set);
            data.faults.merge(faults);
        }
        Ok(data)
    }
}

#[derive(Debug, Default)]
struct Set {
    set: AllocationSet,
    faults: Faults,
}

impl<'de> Deserialize<'de> for Set {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SetVisitor)
    }
}

struct SetVisitor;

impl<'de> Visitor<'de> for SetVisitor {
    type Value = Set;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an allocation set: an object of rows, or null")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Set, E> {
        Ok(Set::default())
    }

    /// Rows are cut to what is needed one by one, so a reply never stands in memory as a tree.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Set, A::Error> {
        let mut out = Set::default();
        while let Some(key) = map.next_key::<Box<str>>()? {
            let Some(raw) = map.next_value::<Option<RawRow>>()? else {
                out.faults.add(Fault::NullRow, &key);
                continue;
            };
            let Some((row, window)) = raw.read(key, &mut out.faults) else { continue };
            out.note_window(window, &row.key);
            out.set.rows.push(row);
        }
        out.set.rows.shrink_to_fit();
        Ok(out)
    }
}

impl Set {
    /// A set speaks of the widest window of its rows.
    fn note_window(&mut self, window: Option<Window>, key: &str) {
        let Some(window) = window else { return };
        match self.set.window {
            None => self.set.window = Some(window),
            Some(known) if known == window => {}
            Some(known) => {
                self.faults.add(Fault::OddWindow, key);
                if window.seconds() > known.seconds() {
                    self.set.window = Some(window);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_currency_of_a_product_is_a_code_or_unknown() {
        let of = |json: &str| currency(json.as_bytes());
        assert_eq!(of(r#"{"code":200,"data":{"currencyCode":"EUR"}}"#).as_deref(), Some("EUR"));
        assert_eq!(of(r#"{"data":{"currencyCode":" inr ","x":1}}"#).as_deref(), Some("INR"));
        for none in ["", "<html>", "{}", r#"{"data":{}}"#, r#"{"data":{"currencyCode":"dollars"}}"#]
        {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn empty_shapes_are_sets_without_rows() {
        for (json, sets) in [
            (r#"{"code":200,"status":"success","data":[{}]}"#, 1),
            (r#"{"code":200,"data":[null]}"#, 1),
            (r#"{"code":200,"data":null}"#, 0),
            (r#"{"code":200,"data":[]}"#, 0),
            (r#"{"data":[{},{},{"a":{"totalCost":1}}]}"#, 3),
        ] {
            let reply = parse(json.as_bytes()).unwrap();
            assert_eq!(reply.sets.len(), sets, "{json}");
        }
    }

    #[test]
    fn the_status_tells_the_products_apart() {
        let product = |json: &str| parse(json.as_bytes()).unwrap().product;
        assert_eq!(product(r#"{"code":200,"data":[]}"#), Product::Kubecost);
        assert_eq!(product(r#"{"code":200,"status":"success","data":[]}"#), Product::OpenCost);
    }

    #[test]
    fn what_is_no_answer_is_refused_with_its_reason() {
        for (body, kind, part) in [
            ("<html><h1>504 {x}</h1></html>", Kind::BadReply, "an HTML page"),
            ("404 page not found", Kind::BadReply, "no JSON: '404 page"),
            ("", Kind::BadReply, "no JSON"),
            (r#"{"code":200,"data":[{"a":{"totalCo"#, Kind::BadReply, "cut off"),
            (r#"{"code":200,"data":{"sets":[]}}"#, Kind::BadReply, "list of allocation sets"),
            (r#"{"code":200,"data":[7]}"#, Kind::BadReply, "an allocation set"),
            (r#"{"code":500,"data":null,"message":"boom"}"#, Kind::Unavailable, "500"),
            ("Invalid 'window'\n{\"code\":500,\"message\":\"m\"}", Kind::Unavailable, "'m'"),
            ("Warning: x\n{\"code\":200,\"data\":[]}", Kind::BadReply, "before its JSON"),
        ] {
            let failure = parse(body.as_bytes()).unwrap_err();
            assert_eq!(failure.kind, kind, "{body}");
            assert!(failure.what.contains(part), "{body}: {failure}");
        }
    }

    #[test]
    fn error_messages_are_cut() {
        let long = format!(r#"{{"code":500,"message":"Error: {}"}}"#, "x".repeat(34_000));
        assert!(error_text(long.as_bytes()).len() < 250);
        assert_eq!(error_text(b"Invalid 'window'\n{\"code\":500}"), "Invalid 'window'");
        assert_eq!(error_text(b"<html>..."), "an HTML page");
        assert_eq!(error_text(b""), "");
    }

    #[test]
    fn a_row_of_another_window_is_counted_and_the_set_keeps_the_widest() {
        let row =
            |from, to| format!(r#"{{"totalCost":1,"window":{{"start":"{from}","end":"{to}"}}}}"#);
        let day = row("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z");
        let hour = row("2026-11-20T03:00:00Z", "2026-11-20T04:00:00Z");
        let json = format!(r#"{{"code":200,"data":[{{"a":{hour},"b":{day},"c":null}}]}}"#);
        let reply = parse(json.as_bytes()).unwrap();
        assert_eq!(reply.sets[0].window.unwrap().seconds(), 86_400);
        assert_eq!(reply.faults.count(Fault::OddWindow), 1);
        assert_eq!(reply.faults.count(Fault::NullRow), 1);
    }
}
