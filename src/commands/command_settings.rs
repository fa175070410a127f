//! Which settings a command reads, found by having it read them: a list of them cannot fall behind.

use std::collections::BTreeSet;

use crate::settings::worker::{
    AccountsSettings, AuditSettings, MigrateSettings, PipelineSettings, RecommendSettings,
    ReportSettings, RestSettings, RunSettings, ScheduleSettings, ServeSettings, VerifySettings,
};
use crate::settings::worker_names::{
    CA_FILE, CLIENT_CERT_FILE, CLIENT_KEY_FILE, LOG_FORMAT, SETTINGS,
};
use crate::settings::{RawSettings, ReadSettings};

/// Values on which it depends what else is read: one situation for each way through the settings.
const SITUATIONS: [&[(&str, &str)]; 5] = [
    &[("QUERY_LAYER", "prometheus"), ("PROMETHEUS_URL", "http://p"), ("MONGO_URL", "mongodb://m")],
    &[("QUERY_LAYER", "metroculus"), ("ACCOUNTS", "rest"), ("RESOURCES", "rest")],
    &[("QUERY_LAYER", "allocation-api"), ("KUBECOST_URL", "http://k")],
    &[("REST_URL", "http://r"), ("CLUSTER_SECRET", "s")],
    &[("CONCURRENCY", "4")],
];

/// The names of the settings that a command may read, whatever their values.
pub(super) fn settings_of(command: &str) -> BTreeSet<&'static str> {
    let mut names = match command {
        "run" => read::<RunSettings>(),
        "plan" | "backfill" | "explain" => read::<PipelineSettings>(),
        "audit" => read::<AuditSettings>(),
        "schedule" => read::<ScheduleSettings>(),
        "report" | "anomalies" => read::<ReportSettings>(),
        "recommend" => &read::<RecommendSettings>() | &read::<MigrateSettings>(),
        "serve" => read::<ServeSettings>(),
        "migrate" => read::<MigrateSettings>(),
        "verify" => read::<VerifySettings>(),
        "accounts" => &read::<AccountsSettings>() | &read::<RestSettings>(),
        // The others ask no server.
        _ => return BTreeSet::new(),
    };
    // Read by every command before its own.
    let of_all = [CA_FILE, CLIENT_CERT_FILE, CLIENT_KEY_FILE, LOG_FORMAT];
    names.extend(of_all.map(|setting| setting.name));
    names
}

fn read<S: ReadSettings>() -> BTreeSet<&'static str> {
    SITUATIONS.iter().flat_map(|pairs| RawSettings::of(SETTINGS, pairs).names_read::<S>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_is_read_by_some_command_and_none_by_all_that_do_not_need_it() {
        let commands = super::super::args::command();
        let names: Vec<_> = commands.get_subcommands().map(clap::Command::get_name).collect();
        let all: BTreeSet<&str> = names.iter().flat_map(|name| settings_of(name)).collect();
        for setting in SETTINGS {
            assert!(all.contains(setting.name), "no command reads {}", setting.name);
        }
        let migrate = settings_of("migrate");
        assert!(migrate.contains("CLICKHOUSE_PASSWORD") && migrate.contains("CLIENT_KEY_FILE"));
        assert!(!migrate.contains("PROMETHEUS_URL") && !migrate.contains("LEASE_SECONDS"));
        let run = settings_of("run");
        for name in ["PROMETHEUS_TOKEN", "METROCULUS_URL", "CLUSTER_FILTER", "MONGO_DATABASE"] {
            assert!(run.contains(name), "run reads {name}");
        }
        assert!(!run.contains("METRICS_ADDR") && settings_of("schedule").contains("METRICS_ADDR"));
        assert!(settings_of("demo").is_empty());
    }
}
