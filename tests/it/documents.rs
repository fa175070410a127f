//! Documents that are made from the code, and rules of the code that no compiler checks.
//!
//! `WRITE_DOCUMENTS=1 cargo test --test it documents` writes what is made from the code.

use std::path::{Path, PathBuf};
use std::process::Command;

use kubecost_worker::settings::{document, exporter, worker};

use crate::support::servers::root;

const HEAD: &str = "\
# Settings

Made from the code by `WRITE_DOCUMENTS=1 cargo test --test it documents`; a test keeps it so.

A flag wins over the environment, the environment over the `--config` file (TOML: the names in lower case).
A secret is no flag: it comes from the environment, or from the file that `NAME_FILE` names (flag `--name-file`).
A duration is a number of seconds, or `90s`, `5m`, `3h`, `2d`. All settings are checked before anything is
connected, and all errors are reported at once. `RUST_LOG` sets the level of logs (`info`).
";

fn configuration() -> String {
    format!(
        "{HEAD}\n## kubecost-worker\n\n{}\n## kubecost-allocation-exporter\n\n{}",
        document::table(worker::SETTINGS),
        document::table(exporter::SETTINGS)
    )
}

#[test]
fn the_settings_document_is_the_codes_own() {
    let path = root().join("docs/CONFIGURATION.md");
    if std::env::var_os("WRITE_DOCUMENTS").is_some() {
        std::fs::write(&path, configuration()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, configuration(), "run WRITE_DOCUMENTS=1 cargo test --test it documents");
}

/// The commands of the worker that a document tells its reader to give, with something for each placeholder.
fn commands(document: &str) -> Vec<Vec<String>> {
    let line = |line: &str| {
        let words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        let value = |word: &str| match word.trim_matches(['[', ']']) {
            "ID" => "account-1".to_owned(),
            "DAY" => "2026-11-20".to_owned(),
            word => word.to_owned(),
        };
        words.map(value).collect()
    };
    let inline = document.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let indented = document.lines().filter(|line| line.starts_with("    ")).map(str::trim);
    let fenced = document.split("```").skip(1).step_by(2).flat_map(str::lines);
    inline
        .chain(indented)
        .chain(fenced)
        .filter_map(|text| text.strip_prefix("kubecost-worker "))
        .map(line)
        .collect()
}

#[test]
fn every_command_of_the_documents_is_understood() {
    let names = ["README.md", "docs/OPERATIONS.md", "docs/RUNBOOK.md", "docs/VERIFY.md"];
    let mut seen = 0;
    for name in names {
        for arguments in commands(&std::fs::read_to_string(root().join(name)).unwrap()) {
            seen += 1;
            // Without settings: a command that is understood misses those, another one its flags.
            let output = Command::new(env!("CARGO_BIN_EXE_kubecost-worker"))
                .args(&arguments)
                .env_clear()
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let is_help = output.status.success() && arguments.contains(&"--help".to_owned());
            assert!(
                is_help || said.contains("the settings are wrong"),
                "{name}: {arguments:?}: {said}"
            );
        }
    }
    assert!(seen > 20, "{seen} commands found");
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut open = vec![directory.to_path_buf()];
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The pure core: functions of values, without async, client, clock or environment.
const PURE: &[&str] = &[
    "src/cost",
    "src/ledger/diff.rs",
    "src/ledger/blocks.rs",
    "src/ledger/entry.rs",
    "src/ledger/collapse.rs",
    "src/documents/document.rs",
    "src/documents/merge.rs",
    "src/source/prometheus/promql.rs",
    "src/run/days.rs",
    "src/run/guard.rs",
    "src/migrate/plan.rs",
];

#[test]
fn the_pure_core_does_no_input_or_output() {
    const FORBIDDEN: [&str; 9] = [
        "tokio::",
        "reqwest::",
        "mongodb::",
        "clickhouse::",
        "rusqlite::",
        "std::env::",
        "async fn",
        "Instant::now",
        "crate::service::clock",
    ];
    for name in PURE {
        let path = root().join(name);
        let files = if path.is_dir() { rust_files(&path) } else { vec![path] };
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in lines {
                let found = FORBIDDEN.iter().find(|word| line.contains(**word));
                assert!(found.is_none(), "{}: {line}", file.display());
            }
        }
    }
}

#[test]
fn files_are_short() {
    for directory in ["src", "tests", "benches"] {
        for file in rust_files(&root().join(directory)) {
            let lines = std::fs::read_to_string(&file).unwrap().lines().count();
            assert!(lines <= 500, "{}: {lines} lines", file.display());
        }
    }
}
