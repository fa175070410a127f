//! Passwords and secrets appear in no output, whatever the level and whatever goes wrong.

use crate::support::bench::{ACCOUNT, Bench, REFUSED, Settings, with};
use crate::support::fake_prometheus;
use crate::support::http::{FakeServer, reply};
use crate::support::servers::{mongodb_with_users, unique};
use crate::support::worker::{Finished, run};

/// The most that can be asked for, of the libraries beneath too.
const TRACE: &str = "trace,hyper=trace,hyper::proto=trace,hyper_util=trace,reqwest=trace,\
                     reqwest::connect=trace,mongodb=trace,mongodb::command=trace,\
                     clickhouse=trace,h2=trace,rustls=trace,tokio_cron_scheduler=trace";

/// Parts of every secret that the tests set, as they are and in base64 as headers hold them.
const SECRETS: [&str; 10] = [
    "s3cret",
    "root-test-password",
    "worker-test-password",
    "cHJvbS11c2VyOn",
    "dXJsLXVzZXI6",
    "czNjcmV0",
    "MzY3JldA",
    "zM2NyZX",
    "czNj",
    "s3cr",
];

fn checked(finished: Finished, what: &str) -> Finished {
    for text in [&finished.stdout, &finished.stderr] {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{what}: '{secret}' is in:\n{text}");
        }
        assert!(!text.contains("panicked"), "{what}:\n{text}");
    }
    finished
}

/// Runs the command at the most detailed level in both formats; no secret may be seen.
fn run_seen(settings: &Settings, arguments: &[&str], code: i32) {
    for format in ["text", "json"] {
        let settings = with(settings, &[("RUST_LOG", TRACE), ("LOG_FORMAT", format)]);
        let what = format!("{arguments:?} {format}");
        let finished = checked(run(&settings, arguments), &what);
        let output = format!("{}\n{}", finished.stdout, finished.stderr);
        assert_eq!(finished.code, code, "{what}: {output}");
    }
}

const DAY: [&str; 5] = ["run", "--from", "2026-03-01", "--to", "2026-03-01"];
const DRY: [&str; 6] = ["run", "--from", "2026-03-01", "--to", "2026-03-01", "--dry-run"];

/// Settings with a secret wherever there can be one; no server takes them.
fn wrong(bench: &Bench, query_url: &str) -> Settings {
    let text = |name, value: &str| (name, value.to_owned());
    let mut settings = bench.stores.settings();
    settings.extend([
        text("PROMETHEUS_URL", query_url),
        text("PROMETHEUS_USER", "prom-user"),
        text("PROMETHEUS_PASSWORD", "pr0m-s3cret"),
        text("CLUSTER_SECRET", "clust3r-s3cret"),
        text("ACCOUNTS", ACCOUNT),
    ]);
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_succeeds_shows_no_secret() {
    let bench = Bench::new("secrets_good").await;
    let server = fake_prometheus::start(|_| None).await;
    let guarded = mongodb_with_users();
    let mongo_url = guarded.url.replace("//", "//root:root-test-password@") + "?authSource=admin";
    let in_url = server.url.replace("//", "//url-user:url-s3cret@");
    let mut settings = bench.stores.settings();
    let database = unique("secrets");
    let changes = [
        ("MONGO_URL", mongo_url.as_str()),
        ("MONGO_DATABASE", &database),
        ("CLICKHOUSE_USER", "worker"),
        ("CLICKHOUSE_PASSWORD", "worker-test-password"),
        ("CLUSTER_SECRET", "clust3r-s3cret"),
        ("PROMETHEUS_URL", &in_url),
        ("ACCOUNTS", ACCOUNT),
    ];
    settings = with(&settings, &changes);
    run_seen(&settings, &["migrate", "--dry-run"], 0);
    run_seen(&settings, &["migrate"], 0);
    run_seen(&settings, &DRY, 0);
    run_seen(&settings, &DAY, 0);
    run_seen(&with(&settings, &[("ACCOUNTS", "mongo")]), &["accounts"], 0);
    let user = [
        ("PROMETHEUS_URL", server.url.as_str()),
        ("PROMETHEUS_USER", "prom-user"),
        ("PROMETHEUS_PASSWORD", "pr0m-s3cret"),
    ];
    run_seen(&with(&settings, &user), &DAY, 0);
    let token = [("PROMETHEUS_URL", server.url.as_str()), ("PROMETHEUS_TOKEN", "t0ken-s3cret")];
    run_seen(&with(&settings, &token), &DAY, 0);
    // The secrets did arrive: each way to authenticate was used.
    let headers: Vec<_> =
        server.asked().iter().map(|asked| asked.header("authorization").to_owned()).collect();
    for wanted in [
        "Basic dXJsLXVzZXI6dXJsLXMzY3JldA==",
        "Basic cHJvbS11c2VyOnByMG0tczNjcmV0",
        "Bearer t0ken-s3cret",
    ] {
        assert!(headers.iter().any(|header| header == wanted), "{wanted} in {headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_refuse_or_are_down_show_no_secret() {
    let bench = Bench::new("secrets_bad").await;
    let refusing = FakeServer::start(|_| reply(401, "text/plain", "no")).await;
    let healthy = fake_prometheus::start(|_| None).await;
    run_seen(&wrong(&bench, &refusing.url), &DAY, 3);
    run_seen(&wrong(&bench, REFUSED), &DAY, 3);
    let settings = wrong(&bench, &healthy.url);
    let guarded = mongodb_with_users();
    let mongo_url = guarded.url.replace("//", "//root:m0ngo-s3cret@");
    let down = "mongodb://root:m0ngo-s3cret@127.0.0.1:1/?serverSelectionTimeoutMS=200";
    for url in [mongo_url.as_str(), down] {
        let settings = with(&settings, &[("MONGO_URL", url)]);
        run_seen(&settings, &DAY, 3);
        run_seen(&settings, &["migrate", "--dry-run"], 3);
        run_seen(&with(&settings, &[("ACCOUNTS", "mongo")]), &["accounts"], 3);
    }
    let in_url = bench.stores.clickhouse.url.replace("//", "//worker:cl1ck-s3cret@");
    for changes in [
        vec![("CLICKHOUSE_USER", "worker"), ("CLICKHOUSE_PASSWORD", "cl1ck-s3cret")],
        vec![("CLICKHOUSE_URL", in_url.as_str())],
        vec![("CLICKHOUSE_URL", REFUSED), ("CLICKHOUSE_PASSWORD", "cl1ck-s3cret")],
    ] {
        run_seen(&with(&settings, &changes), &DAY, 3);
        run_seen(&with(&settings, &changes), &["migrate"], 3);
    }
    for url in [refusing.url.as_str(), REFUSED] {
        let rest = [("ACCOUNTS", "rest"), ("REST_URL", url)];
        run_seen(&with(&settings, &rest), &["accounts"], 3);
        let metroculus = [("QUERY_LAYER", "metroculus"), ("METROCULUS_URL", url)];
        run_seen(&with(&settings, &metroculus), &DAY, 3);
    }
    let shown = refusing.asked();
    assert!(shown.iter().any(|asked| asked.header("secret") == "clust3r-s3cret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_wrong_show_no_secret() {
    let bench = Bench::new("secrets_settings").await;
    let settings = wrong(&bench, REFUSED);
    for (name, value) in [
        ("PROMETHEUS_URL", "http://user:url-s3cret@ho st:9090"),
        ("PROMETHEUS_URL", "http://user:url-s3cret@host:99999"),
        ("PROMETHEUS_URL", "user:url-s3cret@host:9090"),
        ("PROMETHEUS_URL", "http://user:url-s3cret@host:9090/?query=1"),
        ("CLICKHOUSE_URL", "tcp://user:url-s3cret@host:9000"),
        ("MONGO_URL", "https://user:m0ngo-s3cret@host/"),
        ("MONGO_URL", "user:m0ngo-s3cret@host"),
    ] {
        run_seen(&with(&settings, &[(name, value)]), &DAY, 2);
    }
    for url in [
        "mongodb://user:m0ngo-s3/cret@127.0.0.1/",
        "mongodb://user:m0ngo%s3cret@127.0.0.1/",
        "mongodb://user:m0ngo@s3cret@127.0.0.1/",
        "mongodb://user:12/m0ngo-s3cret@127.0.0.1/",
    ] {
        run_seen(&with(&settings, &[("MONGO_URL", url)]), &DAY, 2);
    }
    let broken =
        [("CLUSTER_SECRET", "clust3r\ns3cret"), ("ACCOUNTS", "rest"), ("REST_URL", REFUSED)];
    run_seen(&with(&settings, &broken), &["accounts"], 3);
    for arguments in [
        vec!["run", "--prometheus-password=pr0m-s3cret"],
        vec!["run", "--mongo-url=mongodb://user:m0ngo-s3cret@host"],
        vec!["run", "--clickhouse-password", "cl1ck-s3cret"],
    ] {
        run_seen(&settings, &arguments, 2);
    }
}

#[test]
fn help_shows_no_secret_of_the_environment() {
    let text = |name, value: &str| (name, value.to_owned());
    let settings = vec![
        text("MONGO_URL", "mongodb://user:m0ngo-s3cret@host"),
        text("CLICKHOUSE_PASSWORD", "cl1ck-s3cret"),
        text("PROMETHEUS_URL", "http://user:url-s3cret@host"),
        text("PROMETHEUS_TOKEN", "t0ken-s3cret"),
        text("CLUSTER_SECRET", "clust3r-s3cret"),
    ];
    for command in ["run", "schedule", "migrate", "accounts"] {
        run_seen(&settings, &[command, "--help"], 0);
    }
    run_seen(&settings, &["--help"], 0);
}
