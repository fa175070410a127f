//! `kill -9` of the real binary at random moments of a run, and connections that are cut at each
//! piece that is sent in turn. After each, one undisturbed run has to end in the right state.

use std::process::Stdio;
use std::time::{Duration, Instant};

use mongodb::bson::doc;

use crate::support::small::Small;
use crate::support::trouble::{Proxy, Trouble};
use crate::support::worker::{Finished, command, run};

/// How often a run is killed, unless `KILLS` says otherwise.
const KILLS: u32 = 300;
const RANGE: [&str; 4] = ["--from", "2026-03-01", "--to", "2026-03-02"];

/// A time of the second day, as `--at` takes it: each case has two minutes of its own, longer than
/// a lease, in which costs go on.
fn at(case: u32, minute: u32) -> String {
    let minutes = 10 + case * 2 + minute;
    format!("2026-03-02T{:02}:{:02}:30Z", minutes / 60, minutes % 60)
}

/// The undisturbed run after a fault: it succeeds, and what is stored is what the source says.
fn check(settings: &[(&str, String)], case: u32) {
    let at = at(case, 1);
    let done: Finished = run(settings, &["--at", &at, "run"]);
    assert_eq!(done.code, 0, "case {case}: {}\n{}", done.stdout, done.stderr);
    for day in done.summary()["accounts"][0]["days"].as_array().unwrap() {
        assert_eq!(day["source_total_usd"], day["stored_total_usd"], "case {case}: {day}");
        assert_eq!(day["rows"], 3, "case {case}: {day}");
    }
}

/// What is stored in the end is what one undisturbed run stores where nothing was before.
async fn check_end(small: &Small, cases: u32) {
    let now = at(cases, 1);
    run(&small.settings, &["--at", &now, "run"]).expect_success();
    let audit: Vec<&str> = ["--at", &now, "audit"].into_iter().chain(RANGE).collect();
    run(&small.settings, &audit).expect_success();
    let again = run(&small.settings, &["--at", &now, "run"]).expect_success().summary();
    assert_eq!((&again["rows_written"], &again["documents_written"]), (&0.into(), &0.into()));
    let calm = small.beside("calm").await;
    run(&calm.settings, &["--at", &now, "run"]).expect_success();
    assert_eq!(small.stored().await, calm.stored().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_at_any_moment_is_made_good_by_the_next() {
    let mut small = Small::new("kill").await;
    small.settings.push(("LEASE_SECONDS", "10".to_owned()));
    let kills = std::env::var("KILLS").map_or(KILLS, |text| text.parse().unwrap());
    run(&small.settings, &["--at", &at(0, 0), "run"]).expect_success();
    let began = Instant::now();
    run(&small.settings, &["--at", &at(0, 1), "run"]).expect_success();
    let whole_run = began.elapsed();
    let records =
        small.stores.mongo().await.collection::<mongodb::bson::Document>("kubecost_account_day");
    let (mut too_late, mut half_written) = (0, 0);
    for case in 1..=kills {
        let mut child = command(&small.settings, &["--at", &at(case, 0), "run"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Moments spread evenly over the run, in an order that is not that of time.
        let moment = whole_run * (case * 37 % 100) / 100;
        tokio::time::sleep(moment).await;
        let is_over = child.try_wait().unwrap().is_some();
        too_late += u32::from(is_over);
        child.kill().unwrap();
        child.wait().unwrap();
        let pending = records.count_documents(doc! { "pending": true }).await.unwrap();
        half_written += u32::from(pending > 0);
        check(&small.settings, case);
    }
    check_end(&small, kills + 1).await;
    println!(
        "{kills} kills over a run of {} ms: {too_late} after its end, {half_written} in the midst \
         of a day's writing",
        whole_run.as_millis()
    );
    assert!(too_late < kills / 2, "most runs were over before they were killed");
}

async fn cut_at_each_piece(name: &str, variable: &'static str, trouble: Trouble) {
    let mut small = Small::new(name).await;
    small.settings.push(("LEASE_SECONDS", "10".to_owned()));
    let url = small.settings.iter().find(|(name, _)| *name == variable).unwrap().1.clone();
    let proxy = Proxy::new(&url).await;
    let mut through = small.settings.clone();
    through.retain(|(name, _)| *name != variable);
    through.push((variable, proxy.url.clone()));
    let mut case = 0;
    loop {
        proxy.arm(case + 1, trouble);
        let outcome = run(&through, &["--at", &at(case, 0), "run"]);
        let was_hit = proxy.disarm();
        assert!([0, 1, 3].contains(&outcome.code), "{}", outcome.stderr);
        check(&small.settings, case);
        case += 1;
        if !was_hit {
            break;
        }
    }
    check_end(&small, case).await;
    println!("{variable}: trouble ({trouble:?}) at each of {} pieces in turn", case - 1);
    assert!(case > 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_is_cut_off_before_each_request() {
    cut_at_each_piece("cut_ch", "CLICKHOUSE_URL", Trouble::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_replies_are_lost() {
    cut_at_each_piece("lost_ch", "CLICKHOUSE_URL", Trouble::LoseReply).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_replies_are_late() {
    let late = Trouble::Delay(Duration::from_millis(300));
    cut_at_each_piece("late_ch", "CLICKHOUSE_URL", late).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_is_cut_off_before_each_request() {
    cut_at_each_piece("cut_mongo", "MONGO_URL", Trouble::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_replies_are_lost() {
    cut_at_each_piece("lost_mongo", "MONGO_URL", Trouble::LoseReply).await;
}

/// A reply that is later than the lease is long: meanwhile another worker has taken the account
/// and has written it. The first one's clock stands still, so what it does when it wakes up is what
/// a worker can do that does not notice how late it is: the next run finds that, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn mongodb_replies_are_later_than_the_lease_is_long() {
    let mut small = Small::new("late_mongo").await;
    small.settings.push(("LEASE_SECONDS", "10".to_owned()));
    let url = small.settings.iter().find(|(name, _)| *name == "MONGO_URL").unwrap().1.clone();
    let proxy = Proxy::new(&url).await;
    let mut through = small.settings.clone();
    through.retain(|(name, _)| *name != "MONGO_URL");
    through.push(("MONGO_URL", proxy.url.clone()));
    let (mut case, mut overtaken, mut mended) = (0, 0, 0);
    loop {
        proxy.arm(case + 1, Trouble::Hold);
        let (settings, now) = (through.clone(), at(case, 0));
        let late = tokio::task::spawn_blocking(move || run(&settings, &["--at", &now, "run"]));
        tokio::pin!(late);
        let ended = tokio::select! {
            () = proxy.hit() => None,
            ended = &mut late => Some(ended.unwrap()),
        };
        // A minute later by the workers' clocks, so any lease of the first is over.
        check(&small.settings, case);
        let was_hit = proxy.disarm();
        let ended = match ended {
            Some(ended) => ended,
            None => late.await.unwrap(),
        };
        assert!([0, 1, 3].contains(&ended.code), "case {case}: {}", ended.stderr);
        overtaken += u32::from(ended.stdout.contains("was lost: it took too long"));
        let next = run(&small.settings, &["--at", &at(case, 1), "run"]);
        if next.code != 0 {
            let summary = next.summary();
            assert_eq!((next.code, &summary["accounts_failed"]), (1, &0.into()), "{summary}");
            assert!(summary["reconciliation_differences"].as_u64() > Some(0), "{summary}");
            mended += 1;
        }
        check(&small.settings, case);
        case += 1;
        if !was_hit {
            break;
        }
    }
    check_end(&small, case).await;
    println!(
        "MONGO_URL: a late reply at each of {} pieces; {overtaken} workers saw that they had lost \
         their lease, after {mended} the ledger was mended",
        case - 1
    );
    assert!(case > 5 && overtaken > 0, "{case} {overtaken}");
}
