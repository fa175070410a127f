//! Replies that are too big, too slow, or packed to burst: memory and time stay bounded.

use std::convert::Infallible;
use std::io::Write;
use std::process::Child;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::{StreamExt, stream};

use crate::support::bench::{ACCOUNT, Bench, DAY, Settings, ended, with};
use crate::support::fake_prometheus::{self, Question, question};
use crate::support::http::{Asked, reply};
use crate::support::worker::{Finished, command};

const REPLY_BYTES: usize = 200 << 20;
const MEMORY_MAX_KIB: u64 = 200 << 10;
const HEAD: &str = r#"{"status":"success","data":{"resultType":"vector","result":["#;
/// Little text that becomes much in memory.
const SMALL: &str = r#"{"metric":{"a":"b"},"value":[1,"1"]},"#;
const USUAL: &str = r#"{"metric":{"tenant_id":"aaaaaaaa-0000-0000-0000-00000000000a","cluster":"prod","namespace":"shop-and-more","pod":"cart-6d4cf56db6-x2x9k"},"value":[1772409599,"1.25"]},"#;

/// 200 MB of JSON that never ends, made as it is sent.
fn endless(head: &'static str, part: &str) -> Body {
    let chunk = Bytes::from(part.repeat((256 << 10) / part.len()));
    let count = REPLY_BYTES / chunk.len() + 1;
    let chunks = stream::iter(std::iter::repeat_n(chunk, count));
    let head = stream::once(std::future::ready(Bytes::from_static(head.as_bytes())));
    Body::from_stream(head.chain(chunks).map(Ok::<_, Infallible>))
}

/// 200 MB that travel as a few hundred kB.
fn bomb() -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(HEAD.as_bytes()).unwrap();
    let chunk = SMALL.repeat(10_000);
    for _ in 0..REPLY_BYTES / chunk.len() + 1 {
        packed.write_all(chunk.as_bytes()).unwrap();
    }
    packed.finish().unwrap()
}

/// Waits for the child's end while it looks at the greatest size that it ever had, KiB.
fn peak_kib(child: &mut Child) -> u64 {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    peak
}

/// Runs a day and says how much memory that took at most.
fn run_measured(settings: &Settings) -> (Finished, u64) {
    let mut command = command(settings, &DAY);
    let pipe = std::process::Stdio::piped;
    let mut child = command.stdout(pipe()).stderr(pipe()).spawn().unwrap();
    let peak = peak_kib(&mut child);
    (Finished::from(child.wait_with_output().unwrap()), peak)
}

async fn is_refused_within_memory(
    name: &str,
    answer: impl Fn() -> Response + Send + Sync + 'static,
) {
    let bench = Bench::new("too_long").await;
    let odd = move |asked: &Asked| (question(asked) == Question::NamespaceCost).then(&answer);
    let server = fake_prometheus::start(odd).await;
    let (finished, peak) = run_measured(&bench.settings(&server.url));
    let named = format!("{ACCOUNT} failed: query layer");
    ended(&finished, 1, &[&named, "the reply of", "than", "fewer LEVELS", &server.url]);
    assert!(peak > 1_000, "{name}: {peak} KiB were measured, which cannot be");
    assert!(peak < MEMORY_MAX_KIB, "{name}: {peak} KiB");
    assert_eq!(bench.stored().await, (0, 0), "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_megabytes_of_small_series_are_refused_within_memory() {
    let answer = || reply(200, "application/json", endless(HEAD, SMALL));
    is_refused_within_memory("small series", answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_megabytes_of_usual_series_are_refused_within_memory() {
    let answer = || reply(200, "application/json", endless(HEAD, USUAL));
    is_refused_within_memory("usual series", answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_megabytes_in_one_label_are_refused_within_memory() {
    const LABEL: &str = r#"{"status":"success","data":{"result":[{"metric":{"a":""#;
    let answer = || reply(200, "application/json", endless(LABEL, "x"));
    is_refused_within_memory("one label", answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_megabytes_of_unknown_fields_are_refused_within_memory() {
    const WARNINGS: &str = r#"{"status":"success","warnings":["#;
    let answer = || reply(200, "application/json", endless(WARNINGS, r#""w","#));
    is_refused_within_memory("warnings", answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_reply_that_bursts_is_refused_within_memory() {
    let packed = Bytes::from(bomb());
    assert!(packed.len() < 8 << 20, "{} bytes are no bomb", packed.len());
    let answer = move || {
        let mut response = reply(200, "application/json", packed.clone());
        response.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
        response
    };
    is_refused_within_memory("a packed reply", answer).await;
}

/// One byte a second, without end.
fn drip() -> Body {
    let bytes = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
    });
    Body::from_stream(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_drips_ends_with_the_accounts_time() {
    let bench = Bench::new("drip").await;
    let odd = |asked: &Asked| {
        let is_due = question(asked) == Question::NamespaceCost;
        is_due.then(|| reply(200, "application/json", drip()))
    };
    let server = fake_prometheus::start(odd).await;
    let deadline = [("ACCOUNT_DEADLINE_SECONDS", "5")];
    let finished =
        crate::support::worker::run(&with(&bench.settings(&server.url), &deadline), &DAY);
    let named = format!("{ACCOUNT} failed: worker");
    ended(&finished, 1, &[&named, "the day took over", "ACCOUNT_DEADLINE_SECONDS"]);
    assert_eq!(bench.stored().await, (0, 0));
}

/// The connection ends in the middle of the reply: that may pass, so it is asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_breaks_off_is_asked_for_again() {
    let bench = Bench::new("breaks").await;
    let broken = || {
        // Long enough to be on its way before the connection is cut.
        let begun = Bytes::from(format!("{}{HEAD}", " ".repeat(1 << 20)));
        let parts = [Ok(begun), Err(std::io::Error::other("cut"))];
        reply(200, "application/json", Body::from_stream(stream::iter(parts)))
    };
    let once = std::sync::atomic::AtomicBool::new(true);
    let odd = move |asked: &Asked| {
        let is_due = question(asked) == Question::NamespaceCost;
        (is_due && once.swap(false, std::sync::atomic::Ordering::SeqCst)).then(broken)
    };
    let server = fake_prometheus::start(odd).await;
    bench.run(&server.url).expect_success();
    assert_eq!(bench.stored().await, (2, 2));
    let always = move |asked: &Asked| (question(asked) == Question::NamespaceCost).then(broken);
    let server = fake_prometheus::start(always).await;
    let named = format!("{ACCOUNT} failed: query layer");
    let other = Bench::new("breaks_always").await;
    ended(&other.run(&server.url), 3, &[&named, "broke off", "network between", &server.url]);
    assert_eq!(other.stored().await, (0, 0));
}
