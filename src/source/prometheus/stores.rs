//! Thanos' stores: those that are away, for a loose `--endpoint` that is lost is missing from
//! answers without a word.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::cost::Day;

/// A store that does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreAway {
    name: String,
    error: String,
    /// The first and the last time of its data, Unix milliseconds, as far as they are known.
    data: (i64, i64),
}

#[derive(Deserialize)]
struct Reply {
    data: BTreeMap<String, Option<Vec<Store>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Store {
    name: String,
    #[serde(default)]
    last_error: Value,
    #[serde(default)]
    min_time: i64,
    #[serde(default)]
    max_time: i64,
}

/// The stores that are away, of a reply of `/api/v1/stores`; none where it is another server's.
pub(super) fn away(body: &[u8]) -> Vec<StoreAway> {
    let Ok(reply) = serde_json::from_slice::<Reply>(body) else { return Vec::new() };
    let stores = reply.data.into_values().flatten().flatten();
    let away = stores.filter_map(|store| {
        let error = match store.last_error {
            Value::Null => return None,
            Value::String(text) if text.is_empty() => return None,
            Value::String(text) => text,
            other => other.to_string(),
        };
        Some(StoreAway { name: store.name, error, data: (store.min_time, store.max_time) })
    });
    away.collect()
}

impl StoreAway {
    /// Whether it may have samples of a day, or of the two days in which the day's are shown.
    pub(super) fn may_have(&self, day: Day) -> bool {
        let (first, last) = self.data;
        // A store that never answered has said nothing of its times.
        let is_known = last > 0;
        let (start, end) = (day.start_seconds() * 1_000, day.next().end_seconds() * 1_000);
        !is_known || (last >= start && first < end)
    }

    /// What an operator should know.
    pub(super) fn warning(&self) -> String {
        format!(
            "the store {} of Thanos is away, and what it has of this day is not known: {}; see it, \
             and name it by --endpoint-strict",
            self.name,
            crate::service::failure::excerpt(&self.error)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_with_an_error_is_away_for_the_days_that_it_has() {
        let body = br#"{"status":"success","data":{
            "receive":[{"name":"a:1","lastError":null,"minTime":1,"maxTime":2},
                       {"name":"b:1","lastError":"rpc error: Unavailable",
                        "minTime":1772323200000,"maxTime":9223372036854775807}],
            "sidecar":null,
            "store":[{"name":"c:1","lastError":{"x":1},"minTime":1672323200000,
                      "maxTime":1682323200000},
                     {"name":"d:1","lastError":""}]}}"#;
        let found = away(body);
        let names: Vec<_> = found.iter().map(|store| store.name.as_str()).collect();
        assert_eq!(names, ["b:1", "c:1"]);
        let day: Day = "2026-03-01".parse().unwrap();
        assert_eq!([found[0].may_have(day), found[1].may_have(day)], [true, false]);
        assert!(found[0].may_have(day.previous()), "an hour after midnight shows the hour before");
        assert!(!found[0].may_have(day.minus(3)));
        let silent = StoreAway { data: (0, 0), ..found[1].clone() };
        assert!(silent.may_have(day));
        assert!(found[0].warning().contains("b:1") && found[0].warning().contains("strict"));
    }

    #[test]
    fn other_servers_have_no_stores() {
        for body in ["", "404 page not found", "{}", r#"{"status":"success","data":[]}"#] {
            assert!(away(body.as_bytes()).is_empty(), "{body}");
        }
    }
}
