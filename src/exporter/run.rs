//! The exporter as a program: flags, settings, log, signals.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Arg, Command};
use tokio::sync::watch;

use super::poller::Poller;
use super::server::router;
use crate::service::access::Access;
use crate::service::clock::SystemClock;
use crate::service::failure::{Failure, Hop};
use crate::service::server::Server;
use crate::service::{tls, version};
use crate::settings::exporter::{CLIENT_TLS, SETTINGS};
use crate::settings::{ConfigErrors, ExporterConfig, RawSettings, ReadSettings, former_names, raw};

const EXAMPLES: &str = "Examples:
  KUBECOST_URL=http://kubecost-cost-analyzer.kubecost:9090 TENANT_ID=ID CLUSTER_NAME=prod \\
    kubecost-allocation-exporter
  kubecost-allocation-exporter --kubecost-url http://opencost.opencost:9003 --tenant-id ID \\
    --cluster-name prod --pod-metrics true --pod-labels node,service
  curl http://localhost:19090/metrics

Flags win over the environment, the environment over the --config FILE (TOML).
Exit codes: 0 stopped by a signal, 2 wrong settings, 3 cannot serve.";

/// The command line.
#[must_use]
pub fn command() -> Command {
    Command::new("kubecost-allocation-exporter")
        .version(version::SHORT)
        .long_version(version::LONG)
        .about("Serves the costs that Kubecost or OpenCost allocates as Prometheus gauges")
        .after_help("Examples and all settings: kubecost-allocation-exporter --help")
        .after_long_help(EXAMPLES)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("TOML file of settings"),
        )
        .args(raw::flags(SETTINGS))
}

/// Settings from flags, environment and file.
///
/// # Errors
/// All that is wrong with them.
pub fn settings(
    matches: &clap::ArgMatches,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<ExporterConfig, ConfigErrors> {
    let file = matches.get_one::<PathBuf>("config").map(PathBuf::as_path);
    let former = former_names::translate(environment);
    let today = |name: &str| former.value(name).map(str::to_owned).or_else(|| environment(name));
    let mut raw = RawSettings::collect(SETTINGS, matches, &today, file);
    for error in &former.errors {
        raw.error(&error.name, &error.what);
    }
    tls::set_up(CLIENT_TLS, &mut raw);
    ExporterConfig::validate(raw)
}

/// Polls and serves until a signal to end.
///
/// # Errors
/// When the address or the certificate cannot be used.
pub async fn run(config: ExporterConfig) -> Result<(), Failure> {
    let server = Server::bind(&config.serving, Hop::Exporter).await?;
    let (access, mode) = (Access::of(&config.metrics_access), config.mode.as_str());
    tracing::info!(
        tenant_id = config.tenant.as_str(),
        cluster = config.cluster,
        mode,
        "asking {}, serving {}/metrics",
        config.endpoint.redacted(),
        server.url(),
    );
    let poller = Arc::new(Poller::new(config, tls::of_process().clone(), Arc::new(SystemClock))?);
    let (stop, stopped) = watch::channel(false);
    let is_stopped = |mut stopped: watch::Receiver<bool>| async move {
        // An error means that the sender is gone, which is an end too.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let polling = {
        let (poller, stopped) = (Arc::clone(&poller), stopped.clone());
        async move { poller.run(is_stopped(stopped)).await }
    };
    let serving = server.run(router(poller, access), is_stopped(stopped));
    let signals = async move {
        signal().await;
        tracing::info!("stopping");
        let _ = stop.send(true);
    };
    tokio::join!(serving, polling, signals);
    Ok(())
}

/// Done at the first SIGTERM or SIGINT.
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        // Without handlers the default action of the signals ends the process.
        _ => std::future::pending().await,
    }
}
