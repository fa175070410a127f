//! The API's checks of single values.

use serde_json::Value;

use super::reply::ApiError;

/// The greatest integer that it takes.
const INTEGER_MAX: i64 = 2_147_483_647;

/// White space as Python has it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// A value that Python takes for false.
pub(crate) fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// A text of 1 to `characters_max` characters that are not all white space.
pub(crate) fn string(name: &str, value: &Value, characters_max: usize) -> Result<(), ApiError> {
    let text = match value {
        Value::Null => return Err(ApiError::wrong("OE0216", &[name])),
        Value::String(text) => text,
        _ => return Err(ApiError::wrong("OE0214", &[name])),
    };
    if !text.is_empty() && text.chars().all(is_space) {
        return Err(ApiError::wrong("OE0416", &[name]));
    }
    if !(1..=characters_max).contains(&text.chars().count()) {
        return Err(ApiError::wrong("OE0215", &[name, &format!("1-{characters_max}")]));
    }
    Ok(())
}

/// An integer of 0 to 2147483647.
pub(crate) fn integer(name: &str, value: &Value) -> Result<(), ApiError> {
    match value {
        Value::Null => Err(ApiError::wrong("OE0216", &[name])),
        Value::Number(number) if number.is_f64() => Err(ApiError::wrong("OE0223", &[name])),
        Value::Number(number) => match number.as_i64() {
            Some(0..=INTEGER_MAX) => Ok(()),
            _ => Err(ApiError::wrong("OE0224", &[name, "0", "2147483647"])),
        },
        _ => Err(ApiError::wrong("OE0223", &[name])),
    }
}

/// True or false.
pub(crate) fn boolean(name: &str, value: &Value) -> Result<(), ApiError> {
    if value.is_boolean() { Ok(()) } else { Err(ApiError::wrong("OE0226", &[name])) }
}

/// An object that is not empty.
pub(crate) fn object(name: &str, value: &Value) -> Result<(), ApiError> {
    if value.is_object() { Ok(()) } else { Err(ApiError::wrong("OE0344", &[name])) }
}
