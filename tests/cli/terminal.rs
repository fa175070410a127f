//! What people see on a terminal of 80 columns.

use serde_json::Value;

use crate::support::{ACCOUNTS, EMPTY, OnTerminal, World};

const DAYS: [&str; 5] = ["run", "--from", "2026-03-01", "--to", "2026-03-03"];

/// A text without its colours.
fn plain(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push_str(piece.split_once('m').map_or(piece, |(_, rest)| rest));
    }
    out
}

fn fits(shown: &OnTerminal) -> String {
    let text = plain(&shown.stdout);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(!text.contains("{\""), "JSON in a text: {text}");
    assert!(!text.contains("-0.0000"), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_a_table_of_names_and_sums_without_json() {
    let world = World::start(|_| None).await;
    let shown = world.on_terminal(&DAYS);
    assert_eq!(shown.code, 0, "{}\n{}", shown.stdout, shown.stderr);
    let text = fits(&shown);
    for part in ["Production in", "Staging", "NO DATA", "all 3 accounts", "1 without data"] {
        assert!(text.contains(part), "'{part}' is missing in:\n{text}");
    }
    // The cause names the whole id, for commands.
    assert!(text.contains(&format!("Staging ({EMPTY})")), "{text}");
    assert!(text.contains("720.0000"), "three days of 240: {text}");
    assert!(shown.stdout.contains("\u{1b}["), "what is wrong has a colour: {}", shown.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_gets_text_and_a_last_line_of_json_unless_one_of_them_is_asked_for() {
    let world = World::start(|_| None).await;
    let piped = world.run(&DAYS).expect_success();
    assert!(piped.stdout.starts_with("account, day"), "{}", piped.stdout);
    assert_eq!(piped.summary()["accounts"].as_array().unwrap().len(), 3);
    assert!(!piped.stdout.contains('\u{1b}'), "{}", piped.stdout);
    let with = |form: &str| {
        let arguments = [&DAYS[..], &["--output", form]].concat();
        world.run(&arguments).expect_success().stdout
    };
    assert!(!with("text").contains("{\""));
    assert!(serde_json::from_str::<Value>(&with("json")).is_ok());
    let on_terminal = world.on_terminal(&[&DAYS[..], &["--output", "json"]].concat());
    assert!(serde_json::from_str::<Value>(&on_terminal.stdout).is_ok(), "{}", on_terminal.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_and_the_bar_do_not_tear_each_other() {
    let world = World::start(|_| None).await;
    for (command, what) in [("backfill", "days,"), ("run", "accounts,")] {
        let arguments = [&[command], &DAYS[1..]].concat();
        let shown = world.on_terminal(&arguments).stderr;
        assert!(shown.contains(what), "a bar: {shown:?}");
        let last = plain_lines(&shown).pop().unwrap_or_default();
        assert!(!last.contains("left;"), "the bar is left: {shown:?}");
        let mut lines = 0;
        // A bar stays on its line until that line is cleared.
        for piece in plain_lines(&shown) {
            let is_log = piece.contains(" INFO ") || piece.contains(" WARN ");
            lines += u32::from(is_log);
            assert!(!(is_log && piece.contains("left;")), "torn: {piece:?}");
        }
        assert!(lines > 2, "{shown:?}");
    }
}

/// What stands on the lines of a terminal: a line that is cleared begins anew.
fn plain_lines(shown: &str) -> Vec<String> {
    let cleared = shown.split("\u{1b}[2K").flat_map(|piece| piece.split('\n'));
    cleared.map(plain).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_shows_days_and_dollars() {
    let world = World::start(|_| None).await;
    let shown = world.on_terminal(&["backfill", "--from", "2026-03-01", "--to", "2026-03-03"]);
    let text = fits(&shown);
    assert!(text.contains("2026-03-02"), "{text}");
    assert!(text.contains("720.0000") && text.contains("$1440.0000 at the source"), "{text}");
    let piped = world.run(&["backfill", "--from", "2026-03-01", "--to", "2026-03-03"]);
    let summary = piped.summary();
    let accounts = summary["accounts"].as_array().unwrap();
    // The others are complete, and are not computed again.
    let ids: Vec<_> = accounts.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [ACCOUNTS[1]], "{summary}");
    assert_eq!((&summary["days_skipped"], &summary["days_total"]), (&6.into(), &9.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_fits_and_says_what_would_change() {
    let world = World::start(|_| None).await;
    let shown = world.on_terminal(&[&["plan"], &DAYS[1..]].concat());
    let text = fits(&shown);
    for part in ["Production in", "    shop", "(cluster)", "+144.0000", "$0.0000 becomes $1440"] {
        assert!(text.contains(part), "'{part}' is missing in:\n{text}");
    }
}
