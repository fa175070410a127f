//! Judgements on the customer's cluster.

use super::*;
use crate::service::failure::Hop;
use crate::verify::HopState;

const NOW: i64 = 1_795_176_000;

fn reply(status: u16, body: &str) -> Result<HttpReply, Failure> {
    Ok(HttpReply { status, body: body.to_owned(), server_seconds: None })
}

fn broken(finding: &HopFinding, part: &str) {
    assert_eq!(finding.state, HopState::Broken, "{finding:?}");
    assert!(finding.cause.contains(part) && !finding.fix.is_empty(), "{finding:?}");
}

#[test]
fn diproxy_answers_are_told_apart() {
    for (status, body, part) in [
        (400, "no cloud account", "Cloud-Account-Id"),
        (401, "", "password"),
        (404, "", "path"),
        (422, "", "another type"),
        (503, "", "behind it"),
        (302, "", "something else"),
    ] {
        broken(&diproxy(&reply(status, body)), part);
    }
    for (status, body) in [(200, ""), (204, ""), (400, "snappy: corrupt input")] {
        assert_eq!(diproxy(&reply(status, body)).state, HopState::Ok, "{status} {body}");
    }
}

#[test]
fn remote_write_is_judged_by_what_is_lost_then_by_its_lag() {
    let good = WriteFacts { sees_itself: true, has_queue: true, ..WriteFacts::default() };
    assert_eq!(remote_write(&Ok(good.clone())).state, HopState::Ok);
    let failing = WriteFacts { failed_per_second: 0.5, ..good.clone() };
    broken(&remote_write(&Ok(failing)), "refuses");
    let late = WriteFacts { lag_seconds: Some(1_200.0), ..good.clone() };
    broken(&remote_write(&Ok(late)), "does not answer");
    let retried = WriteFacts { retried_per_second: 1.0, lag_seconds: Some(5.0), ..good };
    broken(&remote_write(&Ok(retried)), "fails or asks for less");
    let none = WriteFacts { sees_itself: true, ..WriteFacts::default() };
    broken(&remote_write(&Ok(none)), "not configured");
    assert_eq!(remote_write(&Ok(WriteFacts::default())).state, HopState::Skipped);
}

#[test]
fn a_server_that_fails_is_told_by_the_kind_of_its_failure() {
    let failure = Failure::new(Hop::QueryLayer, Kind::Denied, "401", "set it");
    broken(&target(&Err(failure), None), "credentials");
}

#[test]
fn an_exporter_without_a_page_is_no_exporter() {
    broken(&exporter(&reply(200, "up 1\n"), None, NOW), "another program");
    broken(&exporter(&reply(404, "nothing"), None, NOW), "something else");
}

#[test]
fn an_agent_that_answers_no_queries_is_no_fault() {
    let agent = Failure::query(Kind::Refused, "answered 422: unavailable with Agent", "fix");
    assert_eq!(target(&Err(agent.clone()), Some("a")).state, HopState::Skipped);
    assert_eq!(remote_write(&Err(agent)).state, HopState::Skipped);
    let down = Failure::query(Kind::Unavailable, "refused", "fix");
    assert_eq!(target(&Err(down.clone()), Some("a")).state, HopState::Broken);
    assert_eq!(remote_write(&Err(down)).state, HopState::Broken);
}
