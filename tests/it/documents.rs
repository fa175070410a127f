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
    let inline = document.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let indented = document.lines().filter(|line| line.starts_with("    ")).map(str::trim);
    let fenced = document.split("```").skip(1).step_by(2).flat_map(str::lines);
    let texts = inline.chain(indented).chain(fenced);
    texts
        .flat_map(|text| text.split(" | ").flat_map(|part| part.split(" && ")))
        .filter_map(arguments)
        .collect()
}

/// The arguments, where a text calls the worker, after variables or by its image.
fn arguments(text: &str) -> Option<Vec<String>> {
    // Three spaces begin a column of prose.
    let text = text.split("   ").next()?;
    let mut words = text.split_whitespace().skip_while(|word| word.contains('='));
    match words.next()? {
        "kubecost-worker" => {}
        "docker" => {
            words.find(|word| word.ends_with("/kubecost-worker"))?;
        }
        _ => return None,
    }
    let is_over = |word: &&str| !word.starts_with(['#', '>', '<']);
    let value = |word: &str| match word.trim_matches(['[', ']']) {
        "ID" => "account-1".to_owned(),
        "DAY" => "2026-11-20".to_owned(),
        word => word.to_owned(),
    };
    let arguments: Vec<_> = words.take_while(is_over).map(value).collect();
    // `kubecost-worker` alone names the program; dots stand for arguments that were named before.
    let is_whole = !arguments.is_empty() && !arguments.contains(&"...".to_owned());
    is_whole.then_some(arguments)
}

#[test]
fn every_command_of_the_documents_is_understood() {
    let mut seen = 0;
    // The changelog also names commands as they were.
    let is_current = |(path, _): &(PathBuf, String)| !path.ends_with("CHANGELOG.md");
    for (path, document) in documents().into_iter().filter(is_current) {
        let name = path.display();
        for arguments in commands(&document) {
            seen += 1;
            // Without settings: a command that is understood misses those, another one its flags.
            let output = Command::new(env!("CARGO_BIN_EXE_kubecost-worker"))
                .args(&arguments)
                .env_clear()
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let is_about = |word: &String| {
                ["--help", "--version", "man", "completions"].contains(&word.as_str())
            };
            let is_help = output.status.success() && arguments.iter().any(is_about);
            assert!(
                // A Job is made without settings, from a workload that is not there.
                is_help || said.contains("the settings are wrong") || said.contains("--workload"),
                "{name}: {arguments:?}: {said}"
            );
        }
    }
    assert!(seen > 60, "{seen} commands found");
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

#[test]
fn files_are_short() {
    for directory in ["src", "tests", "benches"] {
        for file in rust_files(&root().join(directory)) {
            let lines = std::fs::read_to_string(&file).unwrap().lines().count();
            assert!(lines <= 500, "{}: {lines} lines", file.display());
        }
    }
}

/// The documents that people read, with their text.
fn documents() -> Vec<(PathBuf, String)> {
    let of = |directory: PathBuf| std::fs::read_dir(directory).unwrap();
    [
        root().to_path_buf(),
        root().join("docs"),
        root().join("docs/adr"),
        root().join("migrations"),
        root().join("tests/servers"),
        root().join("charts/kubecost-worker"),
        root().join("charts/kubecost-integration"),
    ]
    .into_iter()
    .flat_map(of)
    .map(|entry| entry.unwrap().path())
    .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
    .collect()
}

#[test]
fn links_between_documents_lead_to_files() {
    let mut seen = 0;
    for (path, text) in documents() {
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for link in links.filter(|link| !link.is_empty() && !link.contains("://")) {
            seen += 1;
            let file = path.parent().unwrap().join(link);
            assert!(file.exists(), "{}: {link} is not there", path.display());
        }
    }
    assert!(seen > 20, "{seen} links found");
}

/// Names like `docs/adr/0003-visible-writes.md` in a text.
fn decisions_named(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("docs/adr/").filter_map(|(start, _)| {
        let end = start + text[start..].find(".md")? + ".md".len();
        Some(&text[start..end]).filter(|name| !name.contains(char::is_whitespace))
    })
}

#[test]
fn decisions_are_numbered_without_gaps_and_named_as_they_are() {
    let directory = root().join("docs/adr");
    let mut names: Vec<String> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for (index, name) in names.iter().enumerate() {
        let number = index + 1;
        assert!(name.starts_with(&format!("{number:04}-")), "{number}: {name}");
        let text = std::fs::read_to_string(directory.join(name)).unwrap();
        assert!(text.starts_with(&format!("# {number}. ")), "{name}");
    }
    let mut seen = 0;
    for file in ["src", "tests"].into_iter().flat_map(|folder| rust_files(&root().join(folder))) {
        for name in decisions_named(&std::fs::read_to_string(&file).unwrap()) {
            seen += 1;
            assert!(root().join(name).exists(), "{}: {name} is not there", file.display());
        }
    }
    assert!(seen > 1, "{seen} names of decisions found");
}

/// The tests that rows of a table name: a file and then, in the same cell, its functions.
fn tests_named(document: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for cell in document.lines().filter(|line| line.starts_with('|')).flat_map(|l| l.split('|')) {
        let mut file = None;
        for name in cell.split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") {
                file = Some(name.to_owned());
            } else if let Some(file) = file.clone().filter(|_| name.contains('_')) {
                out.push((file, name.to_owned()));
            }
        }
    }
    out
}

#[test]
fn the_tests_that_the_architecture_names_are_there() {
    let document = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let tests = tests_named(&document);
    for (file, test) in &tests {
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(text.contains(&format!("fn {test}(")), "{file} has no {test}");
    }
    assert!(tests.len() > 20, "{} tests found", tests.len());
}

/// Names of tests in a document, `folder/file::name`.
fn named_tests(document: &str) -> Vec<(String, String)> {
    let quoted = document.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let parts = quoted.filter_map(|text| text.split_once("::"));
    parts.map(|(file, name)| (file.to_owned(), name.to_owned())).collect()
}

#[test]
fn what_is_said_to_be_run_is_a_test() {
    let document = std::fs::read_to_string(root().join("docs/COMPATIBILITY.md")).unwrap();
    let named = named_tests(&document);
    assert!(named.len() > 20, "{named:?}");
    for (file, name) in named {
        let paths = [format!("{file}.rs"), format!("{file}/mod.rs")];
        let found = paths.iter().find_map(|path| {
            let in_tests = root().join("tests").join(path);
            let in_sources = root().join("src").join(path);
            std::fs::read_to_string(in_tests).or_else(|_| std::fs::read_to_string(in_sources)).ok()
        });
        let text =
            found.unwrap_or_else(|| panic!("docs/COMPATIBILITY.md: no file of {file}::{name}"));
        let declared = format!("fn {name}(");
        let at = text.find(&declared).unwrap_or_else(|| panic!("{file} has no test {name}"));
        let before = &text[..at];
        let is_test = before.rfind("test").is_some_and(|mark| !before[mark..].contains("\n}"));
        assert!(is_test, "{file}::{name} is no test");
    }
    for line in document.lines().filter(|line| line.starts_with("| ") && line.contains("run")) {
        let is_rule = ["run: ", "run on "].iter().any(|words| line.contains(words));
        let has_name = line.contains("::");
        assert!(!is_rule || has_name, "no test is named: {line}");
    }
}
