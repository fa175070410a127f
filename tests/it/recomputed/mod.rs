//! Stored numbers of every kind of source, recomputed from `explain --output json` and raw samples
//! by the script of `tests/recompute`, which shares no code with the worker: equal to the last bit.
//!
//! A few numbers of each world always; `bash tests/recompute/run` recomputes a thousand by chance.

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::process::Command;

use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use crate::support::servers::root;
use crate::support::worker::run;
use worlds::World;

mod answers;
mod gauges;
mod worlds;

/// Numbers of each world in the short version.
const FEW: usize = 3;
/// Explanations that are asked for at one time.
const AT_ONCE: usize = 2;

/// What the script counts, and what it says.
fn recompute(explanations: &str, options: &[String]) -> (Value, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(explanations.as_bytes()).unwrap();
    let output = Command::new("python3")
        .arg(root().join("tests/recompute/recompute.py"))
        .arg(file.path())
        .args(["--quiet"])
        .args(options)
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let counts = said.lines().find_map(|line| serde_json::from_str(line).ok());
    (counts.unwrap_or_else(|| panic!("no counts in {said}")), said)
}

/// Explanations of these numbers, one a line.
async fn explained(world: &World, numbers: Vec<(String, String, String)>) -> String {
    let explain = |(account, day, id): (String, String, String)| {
        let settings = world.settings.clone();
        let at = world.at.clone();
        tokio::task::spawn_blocking(move || {
            let fixed = ["--at", &at, "explain", "--account", &account, "--day", &day];
            let more = ["--resource", &id, "--output", "json"];
            let finished = run(&settings, &[&fixed[..], &more].concat());
            assert_eq!(finished.code, 0, "{day} {id}: {}{}", finished.stdout, finished.stderr);
            let one: Value = serde_json::from_str(&finished.stdout).unwrap();
            one.to_string() + "\n"
        })
    };
    let texts = stream::iter(numbers).map(explain).buffered(AT_ONCE);
    texts.map(Result::unwrap).collect().await
}

/// So many of these, by chance from a seed.
fn chosen<T>(mut all: Vec<T>, count: usize, seed: &mut u64) -> Vec<T> {
    let mut out = Vec::new();
    while out.len() < count && !all.is_empty() {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(*seed >> 33).unwrap() % all.len();
        out.push(all.swap_remove(at));
    }
    out
}

/// Recomputes numbers of a world; returns how many.
async fn hold(world: &World, count: usize, seed: &mut u64) -> u64 {
    let numbers = chosen(world.numbers.clone(), count, seed);
    let wanted = numbers.len() as u64;
    let (counts, said) = recompute(&explained(world, numbers).await, &world.options);
    println!("{}: {} stored, {counts}", world.name, world.numbers.len());
    let of = |name: &str| counts[name].as_u64().unwrap_or(0);
    assert_eq!((of("numbers"), of("rows equal")), (wanted, wanted), "{}: {said}", world.name);
    assert_eq!(of("raw equal"), wanted, "{}: {said}", world.name);
    wanted
}

/// Of a thousand numbers each world has this share: of all that is stored in it, about as many.
const SHARES: [usize; worlds::COUNT] = [90, 60, 60, 60, 60, 50, 170, 230, 40, 30, 120, 60];

/// `RECOMPUTE_NUMBERS` (default: a few of each world), by chance from `RECOMPUTE_SEED` (default 1);
/// `RECOMPUTE_WORLD=N` begins at that world.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_every_source_are_recomputed_from_raw_samples_to_the_last_bit() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("RECOMPUTE_SEED").unwrap_or(1);
    let wanted = number("RECOMPUTE_NUMBERS").map(|count| usize::try_from(count).unwrap());
    let of_all: usize = SHARES.iter().sum();
    let (mut done, mut wrong) = (0, Vec::new());
    let only = number("RECOMPUTE_WORLD").map(|index| usize::try_from(index).unwrap());
    let is_wanted = |index: &usize| only.is_none_or(|only| *index >= only);
    let worlds = SHARES.into_iter().enumerate().filter(|(index, _)| is_wanted(index));
    for (index, share) in worlds {
        let count = wanted.map_or(FEW, |wanted| (wanted * share).div_ceil(of_all));
        let mut seed = seed + index as u64;
        // Not as a task of its own: servers that it starts would wait behind it.
        let held = async { hold(&worlds::world(index).await, count, &mut seed).await };
        match AssertUnwindSafe(held).catch_unwind().await {
            Ok(held) => done += held,
            Err(_) => wrong.push(format!("world {index}, see above")),
        }
    }
    println!("{done} stored numbers are recomputed");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let least = wanted.unwrap_or(FEW * worlds::COUNT) as u64;
    assert!(done >= least || only.is_some(), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_or_a_sample_that_is_another_is_found() {
    let world = gauges::plain("one", &[]);
    let text = explained(&world, world.numbers[..3].to_vec()).await;
    let (counts, said) = recompute(&text, &world.options);
    assert_eq!(counts["raw equal"], 3, "{said}");
    let unit = 2.0_f64.powi(-24);
    let changed: Vec<Value> = text
        .lines()
        .map(|line| {
            let mut one: Value = serde_json::from_str(line).unwrap();
            let usd = one["steps"][0]["source_usd"].as_f64().unwrap();
            one["steps"][0]["source_usd"] = Value::from(usd + unit);
            one["stored_usd"] = Value::from(one["stored_usd"].as_f64().unwrap() + unit);
            one
        })
        .collect();
    let changed: String = changed.iter().map(|one| one.to_string() + "\n").collect();
    let (counts, said) = recompute(&changed, &world.options);
    assert_eq!(
        (&counts["rows DIFFERENT"], &counts["raw DIFFERENT"]),
        (&3.into(), &3.into()),
        "{said}"
    );
}
