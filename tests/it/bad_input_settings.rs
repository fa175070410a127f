//! Settings and arguments that are wrong: all of them named at once, before anything is connected.

use crate::support::bench::{Settings, ended, with};
use crate::support::embedded::SqliteStore;
use crate::support::worker::run;

/// In every secret below: it may stand in no message.
const SECRET: &str = "hunter2";

/// Settings that would do, of servers that nobody asks.
fn settings() -> Settings {
    let text = |name, value: &str| (name, value.to_owned());
    vec![
        text("PROMETHEUS_URL", "http://127.0.0.1:1"),
        text("ACCOUNTS", "acc-1"),
        text("MONGO_URL", "mongodb://user:hunter2@127.0.0.1:1/"),
        text("CLICKHOUSE_URL", "http://127.0.0.1:1"),
        text("CLICKHOUSE_PASSWORD", "hunter2"),
    ]
}

fn refused(changes: &[(&'static str, &str)], arguments: &[&str], parts: &[&str]) {
    let finished = run(&with(&settings(), changes), arguments);
    ended(&finished, 2, parts);
    assert!(finished.stdout.is_empty(), "{}", finished.stdout);
    assert!(!finished.stderr.contains(SECRET), "{}", finished.stderr);
}

#[test]
fn each_wrong_setting_is_named_with_what_would_be_right() {
    for (name, value, part) in [
        ("PROMETHEUS_URL", "prometheus", "no URL"),
        ("PROMETHEUS_URL", "", "is not set"),
        ("PROMETHEUS_URL", "http://u:hunter2@ho st:9090", "no URL"),
        ("PROMETHEUS_URL", "http://u:hunter2@host:99999", "no URL"),
        ("PROMETHEUS_URL", "u:hunter2@host:9090", "http or https"),
        ("PROMETHEUS_URL", "http://u:hunter2@host?x=1", "query"),
        ("CLICKHOUSE_URL", "tcp://u:hunter2@host:9000", "http or https"),
        ("MONGO_URL", "http://u:hunter2@host", "mongodb://"),
        ("MONGO_URL", "", "MONGO_URL_FILE may name a file"),
        ("MONGO_URL", "mongodb://user:hunter2", "percent-encoded"),
        ("MONGO_URL", "mongodb://u:hunter2@ss/wo%rd@127.0.0.1:1/", "percent-encoded"),
        ("MONGO_URL", "mongodb://user:hunter2@127.0.0.1:99999/", "percent-encoded"),
        ("MONGO_URL", "mongodb://user:hunter2@h/?authMechanism=NOPE", "percent-encoded"),
        ("ACCOUNTS", "acc 1", "'acc 1'"),
        ("LEVELS", "cluster,service", "'service' is no level"),
        ("PHASE", "3", "auto, 1, 2"),
        ("LEASE_SECONDS", "soon", "90s, 5m, 3h, 2d"),
        ("ACCOUNT_DEADLINE_SECONDS", "1ms", "90s, 5m, 3h, 2d"),
        ("LEASE_SECONDS", "2d", "between 90 and 3600"),
        ("CATCH_UP_DAYS", "-1", "whole number"),
        ("SHRINK_LIMIT", "20%", "from 0 to 1"),
        ("GAP_POLICY", "guess", "none, scale"),
        ("MAX_SAMPLES", "many", "whole number"),
        ("LOG_FORMAT", "xml", "text, json"),
        ("QUERY_LAYER", "graphite", "prometheus, metroculus"),
        ("STORE", "postgres", "sqlite:PATH"),
        ("TENANT_LABEL", "tenant-id", "no label name"),
        ("PROMETHEUS_HEADERS", "hunter2", "Name: value"),
        ("PROMETHEUS_HEADERS", "X-Key: hunter2\nhunter2", "Name: value"),
        ("CA_FILE", "/no/such/file", "cannot be read"),
        ("CA_FILE", "/dev/null", "no certificate"),
        ("CLIENT_CERT_FILE", "/dev/null", "CLIENT_KEY_FILE: is not set"),
        ("CLIENT_KEY_FILE", "/dev/null", "CLIENT_CERT_FILE: is not set"),
        ("MONGO_URL_FILE", "/no/such/file", "set one of them"),
        ("PROMETHEUS_PASSWORD", "hunter2", "PROMETHEUS_USER"),
    ] {
        let named = name.strip_suffix("_FILE").unwrap_or(name);
        let named = if named == "PROMETHEUS_PASSWORD" { "PROMETHEUS_USER" } else { named };
        refused(&[(name, value)], &["run"], &["the settings are wrong", named, part]);
    }
}

#[test]
fn a_secret_file_that_cannot_be_read_is_named() {
    let parts = ["PROMETHEUS_TOKEN_FILE", "/no/such/file", "No such file"];
    refused(&[("PROMETHEUS_TOKEN_FILE", "/no/such/file")], &["run"], &parts);
    let flag = ["run", "--clickhouse-password-file", "/no/such/file"];
    refused(&[], &flag, &["CLICKHOUSE_PASSWORD_FILE", "/no/such/file"]);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let changes = [
        ("PROMETHEUS_URL", "nowhere"),
        ("LEVELS", "galaxy"),
        ("LEASE_SECONDS", "soon"),
        ("PROMETHEUS_TOKEN_FILE", "/no/such/file"),
    ];
    let parts = ["PROMETHEUS_URL:", "LEVELS:", "LEASE_SECONDS:", "PROMETHEUS_TOKEN_FILE:"];
    refused(&changes, &["run"], &parts);
    refused(&changes, &["schedule"], &parts);
}

#[test]
fn a_configuration_file_is_held_to_the_known_settings() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for (text, part) in [
        ("prometheus_ulr = \"http://h\"\n", "prometheus_ulr"),
        ("prometheus_url_file = \"/x\"\n", "prometheus_url_file"),
        ("PROMETHEUS_URL = \"http://h\"\n", "PROMETHEUS_URL"),
        ("[levels]\npod = true\n", "no single value"),
        ("clickhouse_password = hunter2\n", "is no TOML"),
        ("clickhouse_password = \"hunter2\n", "is no TOML"),
        ("hunter2 hunter2\n", "is no TOML"),
    ] {
        std::fs::write(file.path(), text).unwrap();
        refused(&[], &["run", "--config", path], &["the settings are wrong", path, part]);
    }
    refused(&[], &["run", "--config", "/no/such.toml"], &["--config", "/no/such.toml"]);
}

#[test]
fn unknown_commands_and_flags_are_refused() {
    refused(&[], &["fly"], &["fly", "Usage"]);
    refused(&[], &["run", "--faster"], &["--faster", "Usage"]);
    refused(&[], &["run", "--clickhouse-password=hunter2"], &["--clickhouse-password", "Usage"]);
    refused(&[], &["run", "--output", "yaml"], &["yaml", "json"]);
    refused(&[], &["run", "--force"], &["--reason"]);
    for reason in ["", "  "] {
        refused(&[], &["run", "--force", "--reason", reason], &["--reason is empty"]);
        let days = ["--from", "2026-03-01", "--to", "2026-03-01"];
        let backfill = [&["backfill", "--force", "--reason", reason][..], &days].concat();
        refused(&[], &backfill, &["--reason is empty"]);
    }
}

#[test]
fn days_that_cannot_be_computed_are_refused() {
    for (from, to, part) in [
        ("2026-03-02", "2026-03-01", "--from 2026-03-02 is after --to 2026-03-01"),
        ("2026-03-01", "2099-01-01", "is in the future"),
        ("2026-03-01", "2999-01-01", "is not a UTC day"),
        ("2026-02-30", "2026-03-01", "--from"),
        ("2026-03-01", "yesterday", "--to"),
    ] {
        refused(&[], &["run", "--from", from, "--to", to], &[part]);
    }
    refused(&[], &["run", "--from", "2026-03-01"], &["--to"]);
    refused(&[], &["run", "--at", "noon"], &["--at 'noon'", "2026-11-20T23:58:00Z"]);
    let tomorrow = ["run", "--at", "2026-03-01T12:00:00Z", "--from", "2026-03-02"];
    let tomorrow: Vec<_> = tomorrow.into_iter().chain(["--to", "2026-03-02"]).collect();
    refused(&[], &tomorrow, &["today is 2026-03-01"]);
}

#[test]
fn a_server_of_one_tenant_takes_one_account_only() {
    let changes = [("TENANT_LABEL", ""), ("ACCOUNTS", "acc-1,acc-2")];
    refused(&changes, &["run"], &["ACCOUNTS", "names 2 accounts", "exactly one"]);
}

#[test]
fn an_account_that_is_not_there_is_refused() {
    let store = SqliteStore::new(&["acc-1"], &[("PROMETHEUS_URL", "http://127.0.0.1:1")]);
    let days = ["--from", "2026-03-01", "--to", "2026-03-01", "--account", "acc-2"];
    for command in [vec!["audit"], vec!["audit", "--fix"], vec!["backfill"]] {
        let finished = store.run(&[&command, &days[..]].concat());
        ended(&finished, 2, &["the setting ACCOUNTS has no account acc-2", "accounts for the ids"]);
        assert!(finished.stdout.is_empty(), "{}", finished.stdout);
    }
}

#[test]
fn a_run_that_cannot_begin_ends_with_its_summary() {
    let changes = [("STORE", "sqlite:/no/such/directory/costs.sqlite")];
    let finished = run(&with(&settings(), &changes), &["run"]);
    ended(&finished, 3, &["nothing done: worker", "/no/such/directory"]);
    let summary = finished.summary();
    assert_eq!(summary["exit_code"], 3);
    assert!(summary["failure"]["what"].as_str().unwrap().contains("/no/such"), "{summary}");
}

#[test]
fn a_cron_expression_that_is_none_is_refused() {
    for expression in ["often", "* * *", "61 * * * *", ""] {
        refused(&[], &["schedule", "--cron", expression], &["--cron", "*/5 * * * *"]);
    }
}
