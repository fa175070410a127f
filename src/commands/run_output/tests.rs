use super::*;
use crate::cost::{AccountId, Day};
use crate::source::Warning;

const ID: &str = "aaaaaaaa-0000-0000-0000-00000000000";

fn day(text: &str, state: DayState, source_usd: f64) -> DaySummary {
    let day: Day = format!("2026-11-{text}").parse().unwrap();
    DaySummary {
        state,
        covered_minutes: if state == DayState::Ok { 1_440 } else { 1_439 },
        expected_minutes: 1_440,
        source_total_usd: source_usd,
        stored_total_usd: source_usd,
        rows_written: 3,
        documents_written: 2,
        ..DaySummary::without_costs(day)
    }
}

fn account(number: usize, name: Option<&str>, days: Vec<DaySummary>) -> AccountSummary {
    let id = AccountId::new(format!("{ID}{number}")).unwrap();
    let account = Account { id, name: name.map(str::to_owned) };
    AccountSummary { days, ..AccountSummary::untouched(&account) }
}

fn empty(text: &str, cause: &str) -> DaySummary {
    let day = day(text, DayState::NoData, 0.0);
    DaySummary { cause: cause.into(), covered_minutes: 0, ..day }
}

fn text(accounts: Vec<AccountSummary>, screen: Screen) -> String {
    let mut run = RunSummary::start(0, false);
    run.accounts = accounts;
    run.finalize();
    let mut out = Vec::new();
    summary(&mut out, &run, (Form::Text, screen)).unwrap();
    String::from_utf8(out).unwrap()
}

const TERMINAL: Screen = Screen { width: 80, is_terminal: true, has_colors: false };
const PIPE: Screen = Screen { width: 80, is_terminal: false, has_colors: false };

fn cells(text: &str, row: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.trim_start().starts_with(row));
    let line = line.unwrap_or_else(|| panic!("no row '{row}' in:\n{text}"));
    let rest = line.trim_start().strip_prefix(row).unwrap_or_default();
    rest.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn names_and_sums_by_account_and_in_total_fit_eighty_columns() {
    let long = "a name that is longer than any column can be, with more after it";
    let days = vec![day("20", DayState::Ok, 1.25), day("19", DayState::Partial, 2.5)];
    let large = vec![day("20", DayState::Ok, 12_345.0)];
    let shown = text(vec![account(1, Some("shop"), days), account(2, Some(long), large)], TERMINAL);
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    assert_eq!(cells(&shown, "shop"), ["ok", "99.9%", "3.7500", "3.7500", "6", "4"]);
    assert_eq!(cells(&shown, "2026-11-19"), ["partial", "99.9%", "2.5000", "2.5000", "3", "2"]);
    let total = ["99.9%", "12348.7500", "12348.7500", "9", "6"];
    assert_eq!(cells(&shown, "all 2 accounts"), total);
    assert!(shown.contains("a name that is") && shown.contains('…'), "{shown}");
    assert!(!shown.contains('{'), "no JSON: {shown}");
}

#[test]
fn accounts_without_data_stand_out_with_their_cause() {
    let cause = "no series of the account ".repeat(6);
    let none = vec![empty("20", &cause), empty("19", &cause)];
    let shown = text(vec![account(1, Some("shop"), none)], TERMINAL);
    assert!(cells(&shown, "shop").join(" ").starts_with("NO DATA 0.0%"), "{shown}");
    assert!(shown.contains("1 accounts done, 0 failed, 0 skipped, 1 without data"), "{shown}");
    // The whole id, for commands, and both days in one note.
    let piped =
        text(vec![account(1, Some("shop"), vec![empty("20", "none"), empty("19", "none")])], PIPE);
    let note = format!("shop ({ID}1) 2026-11-20, 2026-11-19 are no-data: none");
    assert!(piped.lines().any(|line| line == note), "{piped}");
}

#[test]
fn of_many_accounts_only_days_that_are_not_ok_are_listed() {
    let one = |number| account(number, None, vec![day("20", DayState::Ok, 1.0)]);
    let mut accounts: Vec<_> = (1..=10).map(one).collect();
    assert_eq!(text(accounts.clone(), PIPE).matches("2026-11-20").count(), 10);
    accounts.push(account(11, None, vec![day("20", DayState::Partial, 1.0)]));
    assert_eq!(text(accounts, PIPE).matches("2026-11-20").count(), 1);
}

#[test]
fn names_that_two_accounts_share_are_told_apart_by_their_ids() {
    let twice = vec![
        account(1, Some("shop"), vec![day("20", DayState::Ok, 1.0)]),
        account(2, Some("shop"), vec![day("20", DayState::Ok, 1.0)]),
        account(3, Some(" "), vec![day("20", DayState::Ok, 1.0)]),
    ];
    let shown = text(twice, PIPE);
    assert_eq!(shown.matches("aaaaaaaa shop").count(), 2, "{shown}");
    assert!(shown.contains("aaaaaaaa-0000"), "{shown}");
}

#[test]
fn zero_has_no_sign_and_large_amounts_have_cents() {
    let shown = text(vec![account(1, Some("shop"), vec![day("20", DayState::Ok, -1e-9)])], PIPE);
    assert!(shown.contains("0.0000") && !shown.contains("-0"), "{shown}");
    let large = vec![day("20", DayState::Ok, 98_765_432.109)];
    let shown = text(vec![account(1, Some("shop"), large)], TERMINAL);
    assert_eq!(cells(&shown, "shop")[2], "98765432.11");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
}

#[test]
fn a_warning_of_several_days_comes_once() {
    let warned = |text: &str| {
        let warnings = vec![Warning::from("odd labels".to_owned())];
        DaySummary { warnings, ..day(text, DayState::Ok, 1.0) }
    };
    let days = vec![warned("20"), warned("19"), warned("18")];
    let shown = text(vec![account(1, Some("shop"), days)], PIPE);
    let line = format!("warning: shop ({ID}1) 2026-11-20 and 2 more days: odd labels");
    assert!(shown.lines().any(|one| one == line), "{shown}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let days = vec![day("20", DayState::Failed, 1.0)];
    let colored = Screen { has_colors: true, ..TERMINAL };
    assert!(text(vec![account(1, Some("shop"), days.clone())], colored).contains("\u{1b}["));
    assert!(!text(vec![account(1, Some("shop"), days)], TERMINAL).contains('\u{1b}'));
}

#[test]
fn a_share_that_is_not_whole_is_never_a_hundred() {
    assert_eq!(share(1_440, 1_440), "100%");
    assert_eq!(share(143_999, 144_000), "99.9%");
    assert_eq!((share(0, 1_440), share(0, 0)), ("0.0%".to_owned(), "-".to_owned()));
}
