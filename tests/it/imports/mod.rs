//! Rules of the code that no compiler checks: which way imports go, and what is pure.

mod source;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::servers::root;
use source::{Code, Segments};

/// The folders of `src`, from the bottom up: a folder imports only from those before it.
const LAYERS: &[&str] = &[
    // Values, and what every other part needs.
    "cost",
    "settings",
    "service",
    // The ways to servers.
    "stores",
    "allocation_api",
    "rest_api",
    // One role each: read trait, write trait, and a file for each product.
    "accounts",
    "rate_journal",
    "source",
    "lease",
    "ledger",
    "documents",
    "day_status",
    "recommendations",
    "account_writer",
    // What is made of them.
    "exporter",
    "run",
    "report",
    "explain",
    "recommend",
    "serve",
    "audit",
    "migrate",
    "verify",
    "demo",
    "commands",
    "bin",
];

/// Imports that go up nevertheless: (file, file).
const UPWARD: &[(&str, &str)] = &[];

/// Files that import each other nevertheless, each circle with all of its files in their order.
const CIRCLES: &[&[&str]] = &[];

/// Files and folders that are functions of values: the rules of money, identity and repair, and
/// what is judged of replies.
const PURE: &[&str] = &[
    "cost",
    "settings/secret.rs",
    "allocation_api/number.rs",
    "allocation_api/row.rs",
    "allocation_api/window.rs",
    "ledger/blocks.rs",
    "ledger/collapse.rs",
    "ledger/diff.rs",
    "ledger/entry.rs",
    "ledger/heal.rs",
    "ledger/unpaired.rs",
    "documents/document.rs",
    "documents/merge.rs",
    "documents/repair.rs",
    "documents/stored.rs",
    "source/prometheus/earlier.rs",
    "source/prometheus/promql.rs",
    "source/prometheus/windows.rs",
    "exporter/render.rs",
    "exporter/snapshot.rs",
    "run/day/accuracy.rs",
    "run/day/decide.rs",
    "run/day/failure.rs",
    "run/day/gap_scaling.rs",
    "run/day/inputs.rs",
    "run/day/rows.rs",
    "run/day/status.rs",
    "run/day/verdict.rs",
    "run/due.rs",
    "run/history.rs",
    "run/reconcile.rs",
    "migrate/plan.rs",
];

/// What a pure file must not name: clocks, the system, clients, and the modules that hold them.
const IMPURE: &[&str] = &[
    "async",
    "await",
    "chrono::Local",
    "chrono::Utc",
    "std::env",
    "std::fs",
    "std::io::stdin",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "axum",
    "clickhouse",
    "futures_util",
    "mongodb",
    "reqwest",
    "rusqlite",
    "tokio",
    "crate::service::clock",
    "crate::service::http",
    "crate::stores",
];

/// Of [`IMPURE`], what is a value all the same.
const VALUES: &[&str] = &["mongodb::bson"];

type Edges = BTreeSet<(String, String)>;

fn code() -> Code {
    Code::read(&root().join("src"))
}

/// Which file names something of which other file.
///
/// `pub use` alone passes a name on: whoever uses the name depends on the file that defines it. It
/// is an edge where the file's own code uses the name as well.
fn edges(code: &Code) -> Edges {
    let mut edges = Edges::new();
    for (file, source) in &code.files {
        let imported = source
            .imports
            .iter()
            .filter(|import| !import.is_public || source.names.contains(&import.name))
            .map(|import| (&import.module, &import.path));
        // A single name is a local one, even where a module is called the same.
        let written = source.paths.iter().filter(|(_, path)| path.len() > 1);
        let written = written.map(|(module, path)| (module, path));
        for (module, path) in imported.chain(written) {
            match code.defining_file(module, path) {
                Some(target) if target != file => {
                    edges.insert((file.clone(), target.to_owned()));
                }
                _ => {}
            }
        }
    }
    edges
}

fn folder(file: &str) -> &str {
    file.split('/').next().unwrap_or(file)
}

/// Edges that go up by [`LAYERS`], or whose folder has no layer.
fn upward(edges: &Edges, layers: &[&str]) -> Vec<String> {
    let rank = |file: &str| layers.iter().position(|layer| *layer == folder(file));
    edges
        .iter()
        .filter(|(from, to)| folder(from) != folder(to))
        .filter(|(from, to)| match (rank(from), rank(to)) {
            (Some(from), Some(to)) => from <= to,
            _ => true,
        })
        .map(|(from, to)| format!("{from} imports from {to}"))
        .collect()
}

/// Files that import each other, directly or by way of others: each group sorted.
fn circles(edges: &Edges) -> BTreeSet<Vec<String>> {
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in edges {
        next.entry(from).or_default().push(to);
    }
    for from in next.keys() {
        let mut open = vec![*from];
        let seen = reached.entry(from).or_default();
        while let Some(file) = open.pop() {
            for to in next.get(file).into_iter().flatten() {
                if seen.insert(to) {
                    open.push(to);
                }
            }
        }
    }
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|seen| seen.contains(to));
    let in_circle = reached.keys().filter(|file| reaches(file, file));
    in_circle
        .map(|file| {
            let others = reached[*file].iter().filter(|other| reaches(other, file));
            others.map(|file| (*file).to_owned()).collect()
        })
        .collect()
}

/// What `file` names of [`IMPURE`].
fn impurities(code: &Code, file: &str) -> Vec<String> {
    let source = &code.files[file];
    let is_below = |path: &Segments, names: &[&str]| {
        names.iter().any(|name| {
            let name: Vec<&str> = name.split("::").collect();
            path.len() >= name.len() && path.iter().zip(&name).all(|(a, b)| a == b)
        })
    };
    let imported = source.imports.iter().map(|import| &import.path);
    imported
        .chain(source.paths.iter().map(|(_, path)| path))
        .filter(|path| is_below(path, IMPURE) && !is_below(path, VALUES))
        .map(|path| format!("{file} names {}", path.join("::")))
        .collect()
}

#[test]
fn imports_go_down_the_layers_only() {
    let code = code();
    let allowed: Vec<String> =
        UPWARD.iter().map(|(from, to)| format!("{from} imports from {to}")).collect();
    let found: Vec<String> = upward(&edges(&code), LAYERS);
    assert_eq!(found, allowed, "the left is what there is, the right what is allowed");
    let folders: BTreeSet<&str> =
        code.files.keys().filter(|file| file.contains('/')).map(|file| folder(file)).collect();
    let layers: BTreeSet<&str> = LAYERS.iter().copied().collect();
    assert_eq!(folders, layers, "each folder of src has its layer");
}

#[test]
fn no_files_import_each_other() {
    let found = circles(&edges(&code()));
    let allowed: BTreeSet<Vec<String>> =
        CIRCLES.iter().map(|files| files.iter().map(|file| (*file).to_owned()).collect()).collect();
    assert_eq!(found, allowed, "the left is what there is, the right what is allowed");
}

#[test]
fn the_pure_core_uses_no_clock_no_system_and_no_client() {
    let code = code();
    let mut checked = 0;
    let mut found = Vec::new();
    for name in PURE {
        let is_of = |file: &&String| *file == name || file.starts_with(&format!("{name}/"));
        let files: Vec<&String> = code.files.keys().filter(is_of).collect();
        assert!(!files.is_empty(), "{name} is not there: mend the list");
        for file in files {
            checked += 1;
            found.extend(impurities(&code, file));
        }
    }
    assert_eq!(found, Vec::<String>::new());
    assert!(checked > PURE.len(), "{checked} files");
}

/// A library of these files, each (path, text), with `lib.rs` that declares the modules.
fn made_up(files: &[(&str, &str)]) -> Code {
    let directory = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("bin/program.rs", "fn main() { kubecost_worker::top::run(); }");
    for (path, text) in files {
        write(path, text);
    }
    Code::read(directory.path())
}

fn texts(edges: &Edges) -> Vec<String> {
    edges.iter().map(|(from, to)| format!("{from} > {to}")).collect()
}

#[test]
fn what_files_name_is_seen_wherever_it_stands() {
    let code = made_up(&[
        ("lib.rs", "pub mod low; pub mod top;"),
        ("low/mod.rs", "mod inner; mod other; pub use inner::{Thing, self as deep};"),
        ("low/inner.rs", "pub struct Thing; // crate::top\n/// [`crate::top::run`]\npub fn f() {}"),
        ("low/other.rs", "use super::Thing; const TEXT: &str = \"crate::top\";"),
        (
            "top.rs",
            "mod tests_not { use crate::low::Thing as T; }
             #[cfg(test)] mod tests { use crate::bottom::X; }
             #[cfg(test)] mod more; #[cfg(test)] use crate::low::{other, inner};
             pub fn run() { println!(\"{}\", std::fs::read(crate::low::other::path())); }",
        ),
    ]);
    let seen = [
        "bin/program.rs > top.rs",
        "low/other.rs > low/inner.rs",
        "top.rs > low/inner.rs",
        "top.rs > low/other.rs",
    ];
    assert_eq!(texts(&edges(&code)), seen);
    assert_eq!(impurities(&code, "top.rs"), ["top.rs names std::fs::read"]);
}

#[test]
fn imports_that_go_up_circles_and_impure_files_are_found() {
    let code = made_up(&[
        ("lib.rs", "pub mod low; pub mod top;"),
        ("low.rs", "use crate::top::run; use std::{fmt, time::{Duration, Instant}};"),
        ("top.rs", "pub fn run() -> crate::low::Low { todo!() } pub async fn later() {}"),
    ]);
    let edges = edges(&code);
    let layers = ["low.rs", "top.rs", "bin"];
    assert_eq!(upward(&edges, &layers), ["low.rs imports from top.rs"]);
    let circle = vec!["low.rs".to_owned(), "top.rs".to_owned()];
    assert_eq!(circles(&edges), BTreeSet::from([circle]));
    assert_eq!(impurities(&code, "low.rs"), ["low.rs names std::time::Instant"]);
    assert_eq!(impurities(&code, "top.rs"), ["top.rs names async"]);
}

#[test]
fn a_module_that_passes_names_on_depends_on_what_it_uses_itself() {
    let files = |body: &'static str| {
        made_up(&[
            ("lib.rs", "pub mod top;"),
            ("top/mod.rs", body),
            ("top/child.rs", "use super::Parent; pub struct Child;"),
        ])
    };
    let passes_on = files("mod child; pub use child::Child; pub struct Parent; pub fn run() {}");
    assert!(circles(&edges(&passes_on)).is_empty());
    let uses = files("mod child; pub use child::Child; pub struct Parent(Child);");
    assert_eq!(circles(&edges(&uses)).len(), 1);
}
