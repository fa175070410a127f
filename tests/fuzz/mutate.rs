//! Inputs that are nearly right: a seed's structure changed here and there, then its bytes.

use serde_json::{Map, Number, Value};

use crate::chance::Chance;

/// Deepest nesting that a mutation adds.
const DEPTH_MAX: u32 = 200;

/// Texts that have broken parsers before.
const TEXTS: [&str; 22] = [
    "",
    " ",
    "NaN",
    "+Inf",
    "-Inf",
    "1e999",
    "-0",
    "0x10",
    "9223372036854775808",
    "null",
    "__idle__",
    "a\u{0}b",
    "a\u{1f}b",
    "\u{feff}x",
    "\u{202e}abc",
    "ﬁ１２",
    "{}\"'\\`$",
    "../../etc/passwd",
    "2026-02-30T25:61:61Z",
    "0000-00-00",
    "+262142-12-31T23:59:59Z",
    "kubecost/ns/pod/x",
];

fn number(chance: &mut Chance) -> Value {
    let floats = [0.0, -0.0, 1e308, -1e308, 5e-324, 0.1, 1e21, -1.0, 4_294_967_296.5];
    match chance.below(4) {
        0 => Value::Number(u64::MAX.into()),
        1 => Value::Number(i64::MIN.into()),
        2 => Value::Number(i64::from(chance.below(100_000)).into()),
        _ => {
            let float = floats[chance.below(floats.len() as u32) as usize];
            Number::from_f64(float).map_or(Value::Null, Value::Number)
        }
    }
}

fn text(chance: &mut Chance) -> String {
    let text = TEXTS[chance.below(TEXTS.len() as u32) as usize];
    if chance.happens(50) { text.repeat(1 + chance.below(200) as usize) } else { text.to_owned() }
}

/// A value that has nothing to do with what was there.
fn other(chance: &mut Chance) -> Value {
    match chance.below(8) {
        0 => Value::Null,
        1 => Value::Bool(chance.happens(500)),
        2 | 3 => number(chance),
        4 | 5 => Value::String(text(chance)),
        6 => Value::Array(vec![number(chance); chance.below(4) as usize]),
        _ => Value::Object(Map::from_iter([(text(chance), number(chance))])),
    }
}

fn nested(value: Value, chance: &mut Chance) -> Value {
    (0..chance.below(DEPTH_MAX)).fold(value, |inner, _| Value::Array(vec![inner]))
}

/// Changes a value somewhere inside.
pub(crate) fn mutate(value: &mut Value, chance: &mut Chance) {
    let goes_down = match value {
        Value::Array(list) => !list.is_empty() && chance.happens(850),
        Value::Object(map) => !map.is_empty() && chance.happens(850),
        _ => false,
    };
    match value {
        Value::Array(list) if goes_down => {
            let index = chance.below(list.len() as u32) as usize;
            match chance.below(10) {
                0 => drop(list.remove(index)),
                1 => list.push(list[index].clone()),
                2 => list.insert(index, other(chance)),
                _ => mutate(&mut list[index], chance),
            }
        }
        Value::Object(map) if goes_down => {
            let index = chance.below(map.len() as u32) as usize;
            let Some(key) = map.keys().nth(index).cloned() else { return };
            match chance.below(10) {
                0 => drop(map.remove(&key)),
                1 => {
                    if let Some(found) = map.remove(&key) {
                        map.insert(text(chance), found);
                    }
                }
                2 => drop(map.insert(text(chance), other(chance))),
                _ => {
                    if let Some(found) = map.get_mut(&key) {
                        mutate(found, chance);
                    }
                }
            }
        }
        value if chance.happens(20) => *value = nested(value.take(), chance),
        value => *value = other(chance),
    }
}

/// Changes bytes: cuts, doubles, flips, inserts.
pub(crate) fn scramble(bytes: &mut Vec<u8>, chance: &mut Chance) {
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() as u32 + 1) as usize;
        match chance.below(6) {
            0 => bytes.truncate(at),
            1 => {
                let end = (at + chance.below(64) as usize).min(bytes.len());
                let piece = bytes[at.min(end)..end].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            2 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => {
                let inserted = text(chance);
                drop(bytes.splice(at..at, inserted.into_bytes()));
            }
            _ => {
                let marks = b"{}[]\",:\\\n\0=#\xff\xc3 e-+.";
                bytes.insert(at, marks[chance.below(marks.len() as u32) as usize]);
            }
        }
    }
}
