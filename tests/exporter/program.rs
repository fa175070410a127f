//! The program itself: help, settings, log, signals, HTTPS.
//!
//! Reading a child's log blocks, so these tests need more than one thread.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Answer, Seen, Server, fixture, until};

/// A child that ends with the test.
pub(crate) struct Program {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    /// Where it serves, once it said so.
    pub(crate) url: String,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubecost-allocation-exporter"));
    command.env_clear();
    command
}

impl Program {
    pub(crate) fn start(kubecost_url: &str, more: &[(&str, &str)]) -> Self {
        let mut child = command()
            .env("KUBECOST_URL", kubecost_url)
            .env("TENANT_ID", "tenant-1")
            .env("CLUSTER_NAME", "test")
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("SCRAPE_INTERVAL", "1")
            .envs(more.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut program = Self { child, lines, url: String::new() };
        let line = program.line("serving ");
        let address = line.split("serving ").nth(1).unwrap();
        program.url = address.split("/metrics").next().unwrap().to_owned();
        program
    }

    /// The next log line that holds a text.
    pub(crate) fn line(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(20));
            let line = line.unwrap_or_else(|_| panic!("no log line with '{part}'"));
            if line.contains(part) {
                return line;
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Answers any window with the recorded hour, its times put to the window's.
pub(crate) fn any_hour(seen: &Seen) -> Answer {
    let pods = seen.query["aggregate"] == "namespace,pod";
    let file = if pods { "hour16-namespace+pod-idle" } else { "hour16-namespace-idle" };
    let body = fixture(&format!("opencost-run/alloc/{file}.json.gz"));
    let (start, end) = seen.query["window"].split_once(',').unwrap();
    let text = String::from_utf8(body).unwrap();
    let text = text.replace("2026-11-20T16:00:00Z", start).replace("2026-11-20T17:00:00Z", end);
    Answer::json(text)
}

#[test]
fn help_names_every_setting_and_no_secret() {
    let output = command().arg("--help").env("KUBECOST_TOKEN", "hush").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for setting in kubecost_worker::settings::exporter::SETTINGS {
        assert!(help.contains(setting.name), "{}", setting.name);
    }
    assert!(help.contains("Examples:") && !help.contains("hush"));
}

#[test]
fn all_wrong_settings_are_reported_at_once_with_exit_code_2() {
    let output = command()
        .args(["--kubecost-url", "kubecost:9090", "--window", "90m", "--metric-mode", "both"])
        .args(["--kubecost-ca-file", "/no/such/ca.pem"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for name in [
        "KUBECOST_URL",
        "KUBECOST_CA_FILE: '/no/such/ca.pem' cannot be read",
        "TENANT_ID",
        "CLUSTER_NAME",
        "WINDOW",
        "METRIC_MODE",
    ] {
        assert!(said.contains(name), "{said}");
    }
    let output = command().arg("--no-such-flag").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_cannot_be_used_is_the_exporters_error_with_exit_code_3() {
    let least = ["--kubecost-url", "http://k", "--tenant-id", "t", "--cluster-name", "c"];
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let output = command().args(least).args(["--listen-addr", &taken]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("exporter: ") && said.contains("cannot listen"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_polls_logs_serves_and_ends_at_sigterm() {
    let server = Server::opencost(any_hour).await;
    let mut program = Program::start(&server.url, &[("POD_METRICS", "true")]);
    let line = program.line("exported ");
    for part in ["16 namespaces", "total_cost=$2.77", "mode=rate", "window=20"] {
        assert!(line.contains(part), "{line}");
    }
    let body = reqwest::get(format!("{}/metrics", program.url)).await.unwrap();
    assert!(body.text().await.unwrap().contains("cloudtuner_kubecost_namespace_total_cost{"));
    let pid = program.pid().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = until("it ended", async || program.child.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_fails_names_the_source_by_its_own_name() {
    let server = Server::start(|_| Answer(500, "text/plain", b"broken".to_vec())).await;
    let program = Program::start(&server.url, &[]);
    let line = program.line("no window yet: ");
    assert!(line.contains("kubecost/opencost: ") && !line.contains("query layer"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_for_one_cluster_says_that_its_name_may_be_wrong() {
    let server = Server::opencost(|_| Answer::sets(&[Default::default()])).await;
    let program = Program::start(&server.url, &[("CLUSTER_FILTER", "prod-2")]);
    let line = program.line("no window yet: ");
    assert!(line.contains("'prod-2'") && line.contains("CLUSTER_FILTER"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_log_line() {
    let server = Server::start(|_| Answer(401, "text/plain", Vec::new())).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "hush-hush\n").unwrap();
    let settings = [
        ("KUBECOST_USER", "me"),
        ("KUBECOST_PASSWORD_FILE", file.to_str().unwrap()),
        ("RUST_LOG", "trace"),
        ("LOG_FORMAT", "json"),
    ];
    let program = Program::start(&server.url, &settings);
    let mut seen = 0;
    while seen < 3 {
        let line = program.lines.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(!line.contains("hush") && !line.contains("bWU6aHVzaC1odXNo"), "{line}");
        seen += usize::from(line.contains("no window yet: "));
    }
    assert_eq!(server.seen()[0].authorization.as_deref(), Some("Basic bWU6aHVzaC1odXNo"));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_served_over_https_when_asked() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = Server::opencost(any_hour).await;
    let files = [
        ("METRICS_TLS_CERT_FILE", certificate.to_str().unwrap()),
        ("METRICS_TLS_KEY_FILE", key.to_str().unwrap()),
    ];
    let program = Program::start(&server.url, &files);
    program.line("exported ");
    let url = program.url.replace("127.0.0.1", "localhost");
    assert!(url.starts_with("https://"), "{url}");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([trusted]).build().unwrap();
    let body = client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(body.contains("cloudtuner_kubecost_cluster_total_cost{"));
}
