//! Feeds each parser that reads what others write with inputs that are nearly right.
//!
//! `FUZZ_INPUTS` is how many each gets (20 000), `FUZZ_SEED` where chance begins, `FUZZ_TARGETS`
//! which parsers (all), their names by commas. A parser may refuse; it may not panic, take over a
//! second, or take over 64 MiB. An input that makes it do so is left in `target/tmp/fuzz`, to become
//! a fixture.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]
#![expect(clippy::print_stdout, reason = "the rate of inputs is a figure to look at")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use chance::Chance;
use mutate::{mutate, scramble};
use targets::{Target, targets};

#[path = "../histories/chance.rs"]
#[expect(dead_code, reason = "histories branch off chances of their own")]
mod chance;
mod mutate;
mod seeds;
mod targets;

/// The longest that one input may take.
const TIME_MAX: Duration = Duration::from_secs(1);
/// How often an input that took longer is tried again.
const AGAIN_MAX: u32 = 4;
/// The most memory that all inputs together may add.
const MEMORY_BYTES_MAX: u64 = 64 << 20;
/// Inputs are not made longer than this.
const INPUT_BYTES_MAX: usize = 64 << 10;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
}

/// Makes the process' peak of memory what it has now: a parser must not hide behind those before.
fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// The most memory that this process had since the peak was reset.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1_024
}

fn input(target: &Target, parsed: &[Option<Value>], chance: &mut Chance) -> Vec<u8> {
    let index = chance.below(target.seeds.len() as u32) as usize;
    let mut bytes = match &parsed[index] {
        Some(seed) if target.is_json && chance.happens(800) => {
            let mut value = seed.clone();
            for _ in 0..=chance.below(5) {
                mutate(&mut value, chance);
            }
            value.to_string().into_bytes()
        }
        _ => target.seeds[index].clone(),
    };
    if !target.is_json || chance.happens(350) {
        scramble(&mut bytes, chance);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

/// Leaves an input where it can be looked at.
fn keep(target: &Target, bytes: &[u8]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{}.input", target.name));
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Whether the parser takes an input, and how long that takes.
fn timed(target: &Target, bytes: &[u8]) -> (bool, Duration) {
    let started = Instant::now();
    let Ok(taken) = catch_unwind(AssertUnwindSafe(|| (target.feed)(bytes))) else {
        panic!("{} panicked: {}", target.name, keep(target, bytes).display());
    };
    (taken, started.elapsed())
}

fn feed(target: &Target, bytes: &[u8]) -> bool {
    let (taken, mut took) = timed(target, bytes);
    // A machine that is busy with something else makes one input slow, but not each time.
    for _ in 0..AGAIN_MAX {
        if took < TIME_MAX {
            break;
        }
        took = took.min(timed(target, bytes).1);
    }
    assert!(took < TIME_MAX, "{} took {took:?}: {}", target.name, keep(target, bytes).display());
    taken
}

fn fuzz(target: &Target, inputs: u64, seed: u64) {
    let parsed: Vec<Option<Value>> =
        target.seeds.iter().map(|seed| serde_json::from_slice(seed).ok()).collect();
    let mut chance = Chance::new(seed);
    reset_peak();
    let (started, before) = (Instant::now(), peak_bytes());
    let mut taken = target.seeds.iter().filter(|seed| feed(target, seed)).count() as u64;
    assert!(taken > 0, "{} takes none of its own seeds", target.name);
    for _ in 0..inputs {
        taken += u64::from(feed(target, &input(target, &parsed, &mut chance)));
    }
    let (seconds, added) = (started.elapsed().as_secs_f64(), peak_bytes() - before);
    println!(
        "{}: {inputs} inputs, {taken} taken, {:.0} a second, {} KiB more memory",
        target.name,
        inputs as f64 / seconds,
        added / 1_024
    );
    // Inputs that are all refused at once would find nothing behind the first check.
    assert!(taken * 50 > inputs, "{}: only {taken} of {inputs} inputs are taken", target.name);
    assert!(added < MEMORY_BYTES_MAX, "{} took {added} bytes more", target.name);
}

#[test]
fn a_planned_day_of_the_seed_is_read_with_every_field() {
    let seed = seeds::plan();
    let plan: kubecost_worker::run::plan::Plan = serde_json::from_value(seed.clone()).unwrap();
    assert_eq!(serde_json::to_value(&plan).unwrap(), seed);
}

/// A measure that does not see a peak behind a higher one would find nothing.
fn check_peaks() {
    let fill = |bytes: usize| drop(std::hint::black_box(vec![1_u8; bytes]));
    fill(64 << 20);
    reset_peak();
    let before = peak_bytes();
    fill(32 << 20);
    assert!(peak_bytes() - before >= 24 << 20, "{before}, then {}", peak_bytes());
}

#[test]
fn no_parser_panics_hangs_or_takes_much_memory() {
    check_peaks();
    let (inputs, seed) = (setting("FUZZ_INPUTS", 20_000), setting("FUZZ_SEED", 1));
    let mut targets = targets();
    if let Ok(names) = std::env::var("FUZZ_TARGETS") {
        for name in names.split(',') {
            assert!(targets.iter().any(|one| one.name == name), "{name} is no parser here");
        }
        targets.retain(|one| names.split(',').any(|name| name == one.name));
    }
    for target in targets {
        fuzz(&target, inputs, seed);
    }
}
