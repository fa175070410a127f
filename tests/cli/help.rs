//! Help, version, completions and manual pages.

use clap::Command;
use kubecost_worker::settings::worker::SETTINGS;

use crate::support::worker::run;

fn commands() -> Vec<String> {
    let command = kubecost_worker::commands::args::command();
    command.get_subcommands().map(|one| one.get_name().to_owned()).collect()
}

fn help(arguments: &[&str]) -> String {
    run(&[], arguments).expect_success().stdout
}

/// The names of settings that a help lists.
fn listed(help: &str) -> Vec<&'static str> {
    // A help is broken into lines at blanks.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_listed = |name: &str| {
        help.contains(&format!("[env: {name}]")) || help.contains(&format!("[env: {name} or"))
    };
    SETTINGS.iter().map(|setting| setting.name).filter(|name| is_listed(name)).collect()
}

#[test]
fn the_short_help_of_each_command_fits_a_screen_and_leads_to_the_whole() {
    for name in commands() {
        let short = help(&[&name, "-h"]);
        assert!(short.lines().count() <= 30, "{name}: {short}");
        assert!(short.contains(&format!("kubecost-worker {name} --help")), "{name}: {short}");
        assert_eq!(listed(&short), [""; 0], "{name}");
    }
    let short = help(&["-h"]);
    assert!(short.lines().count() <= 40 && listed(&short).is_empty(), "{short}");
}

#[test]
fn the_whole_help_of_each_command_has_examples_and_the_settings_that_it_reads() {
    for name in commands() {
        let whole = help(&[&name, "--help"]);
        let (_, examples) = whole.split_once("Examples:").unwrap_or_else(|| panic!("{name}"));
        let example = format!("kubecost-worker {name}");
        assert!(examples.contains(&example), "{name}: no example:\n{examples}");
    }
    let of = |name: &str| help(&[name, "--help"]);
    for name in ["run", "schedule", "migrate", "accounts", "report", "backfill", "recommend"] {
        assert!(of(name).contains("Exit codes: 0 all accounts done"), "{name}");
    }
    let migrate = of("migrate");
    assert!(listed(&migrate).contains(&"CLICKHOUSE_URL"), "{migrate}");
    assert!(!listed(&migrate).contains(&"PROMETHEUS_URL"), "{migrate}");
    let run = of("run");
    for name in ["PROMETHEUS_URL", "METROCULUS_URL", "KUBECOST_URL", "FAIL_ON", "CA_FILE"] {
        assert!(listed(&run).contains(&name), "run: {name}");
    }
    assert!(!listed(&run).contains(&"SERVE_ADDR") && listed(&of("serve")).contains(&"SERVE_ADDR"));
    assert_eq!(listed(&of("demo")), [""; 0]);
    assert_eq!(listed(&help(&["--help"])).len(), SETTINGS.len());
}

#[test]
fn a_setting_that_a_command_does_not_read_is_taken_all_the_same() {
    let said = run(&[], &["migrate", "--prometheus-url", "http://p:9090"]);
    assert!(said.stderr.contains("MONGO_URL: is not set"), "{}", said.stderr);
    let before = run(&[], &["--prometheus-url", "nowhere", "run"]);
    assert!(before.stderr.contains("PROMETHEUS_URL: "), "{}", before.stderr);
    let after = run(&[], &["run", "--prometheus-url", "nowhere"]);
    assert_eq!(before.stderr, after.stderr);
}

#[test]
fn the_exporter_has_a_short_help_too() {
    let short = kubecost_worker::exporter::run::command().render_help().to_string();
    assert!(short.contains("kubecost-allocation-exporter --help"), "{short}");
    assert!(!short.contains("KUBECOST_URL"), "{short}");
    let whole = kubecost_worker::exporter::run::command().render_long_help().to_string();
    assert!(whole.contains("[env: KUBECOST_URL]") && whole.contains("Examples:"), "{whole}");
}

#[test]
fn completions_name_each_command_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = help(&["completions", shell]);
        for name in commands() {
            assert!(text.contains(&name), "{shell}: {name} is missing");
        }
    }
    let unknown = run(&[], &["completions", "csh"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("bash"), "{}", unknown.stderr);
}

#[test]
fn bash_takes_the_completions_and_completes_a_command() {
    let script = "source /dev/stdin; COMP_WORDS=(kubecost-worker ba); COMP_CWORD=1; \
                  name=$(complete -p kubecost-worker); name=${name#*-F }; \
                  ${name%% *} kubecost-worker ba kubecost-worker; echo \"${COMPREPLY[*]}\"";
    let mut bash = std::process::Command::new("bash");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("completions");
    std::fs::write(&file, help(&["completions", "bash"])).unwrap();
    bash.args(["-c", script]).stdin(std::fs::File::open(&file).unwrap());
    let output = bash.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.trim(), "backfill", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn pages_of_all_commands_and_of_the_exporter_are_written() {
    let page = help(&["man"]);
    assert!(page.contains(".TH") && page.contains("backfill"), "{page}");
    let directory = tempfile::tempdir().unwrap();
    help(&["man", "--out", directory.path().to_str().unwrap()]);
    let page = |name: &str| {
        std::fs::read_to_string(directory.path().join(name)).unwrap_or_else(|_| panic!("{name}"))
    };
    for name in commands() {
        assert!(page(&format!("kubecost-worker-{name}.1")).contains("Examples:"), "{name}");
    }
    assert!(page("kubecost-worker-migrate.1").contains("clickhouse\\-url"));
    assert!(!page("kubecost-worker-migrate.1").contains("prometheus\\-url"));
    assert!(page("kubecost-allocation-exporter.1").contains("TENANT_ID"));
}

#[test]
fn the_version_names_what_was_built() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(help(&["-V"]).trim(), format!("kubecost-worker {version}"));
    let long = help(&["--version"]);
    let start = format!("kubecost-worker {version} (");
    assert!(long.starts_with(&start) && long.trim().ends_with(')'), "{long}");
    assert_eq!(long.trim(), format!("kubecost-worker {}", kubecost_worker::service::version::LONG));
}

#[test]
fn the_command_lines_contradict_themselves_nowhere() {
    let programs: [Command; 2] =
        [kubecost_worker::commands::args::command(), kubecost_worker::exporter::run::command()];
    for mut program in programs {
        program.build();
        program.debug_assert();
    }
}
