//! Which currency gauges are in: the ledger holds one.

use std::collections::BTreeMap;

use crate::cost::Day;
use crate::service::failure::{Failure, Kind};

use crate::source::in_another_currency;
use crate::source::prometheus::promql::{Selector, Window, quoted};
use crate::source::prometheus::session::DaySession;

/// Has the selector convert gauges of other currencies; returns the rates by which it does.
///
/// # Errors
/// When gauges are in a currency for which there is no rate of the day.
pub(super) async fn convert(
    session: &mut DaySession<'_>,
    selector: &mut Selector,
    day: Day,
    window: Window,
) -> Result<BTreeMap<String, f64>, Failure> {
    let own = session.currency().code.clone();
    let names = format!("__name__=~\"{}\"", session.totals().join("|"));
    let others = format!("currency!~{}", quoted(&format!("|{own}")));
    let stored = selector.stored("", &[&names, &others]);
    let query = |piece: Window| {
        let by = selector.labels(&["currency"]);
        // Keeps the names of several metrics, and so their series apart.
        format!("max by ({by}) (last_over_time({stored}[{}]))", piece.range())
    };
    let found = session.summed(window, 1, query).await?;
    let mut rates = BTreeMap::new();
    for labels in found.keys() {
        let code = labels.get("currency").unwrap_or_default().to_owned();
        let Some(rate) = session.currency().rate(&code, day) else {
            let cluster = session.cluster(labels);
            return Err(Failure::query(
                Kind::Currency,
                format!(
                    "{}, and there is no rate of {day} for {code}",
                    in_another_currency(&format!("cluster '{cluster}'"), &code, &own)
                ),
                "give rates in EXCHANGE_RATES_FILE, have the exporter tell costs in the ledger's \
                 currency, or set CURRENCY where all costs are in that one",
            ));
        };
        rates.insert(code, rate);
    }
    selector.conversions = rates.iter().map(|(code, rate)| (code.clone(), *rate)).collect();
    Ok(rates)
}
