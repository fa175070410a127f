//! `serve`: Metroculus' answers about Kubernetes costs.

use std::time::Duration;

use crate::serve::{Answers, Gatherer, Pages, Savings, router};
use crate::service::access::{Access, ExpectedSecret};
use crate::service::failure::Hop;
use crate::service::server::Server;
use crate::settings::worker::ServeSettings;

use super::connect::{self, Journal};
use super::request::stop_on_signal;
use super::{CliError, Context};

/// How often the query layer is checked, as a run does when it begins.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// `serve`: answers until asked to stop.
///
/// # Errors
/// When settings are wrong, or an address cannot be used.
pub async fn serve(context: &Context) -> Result<u8, CliError> {
    let config: ServeSettings = context.settings()?;
    let clock = std::sync::Arc::clone(&context.clock);
    // Nothing is written: what is asked for is read from the journal, and not noted there.
    let environment = connect::environment(&config.pipeline, clock, Journal::ReadOnly).await?;
    let answers = Answers::new(
        Gatherer::new(environment.readers, config.cache),
        Savings::new(&config.pipeline.query)?,
        config.cache,
        config.currency,
        config.is_ledger_added,
    );
    let pages = Pages::new(
        answers,
        ExpectedSecret::new(config.secret.expose()),
        Access::of(&config.metrics_access),
    );
    let server = Server::bind(&config.serving, Hop::Worker).await?;
    let stop = stop_on_signal()?;
    tracing::info!("serving {}/metroculus/v2", server.url());
    let beside = async { tokio::join!(pages.watch_query_layer(CHECK_INTERVAL), pages.warm_up()) };
    tokio::select! {
        () = server.run(router(pages.clone()), stop.asked()) => {}
        _ = beside => {}
    }
    Ok(0)
}
