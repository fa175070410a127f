//! What an audit found and did, for people: by account and kind, in 80 columns.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::audit::{Finding, FindingKind, RepairReport};
use crate::service::usd::Usd;

use super::audit_summary::AuditSummary;
use super::output::json;
use super::screen::Screen;

/// Most findings of one account and kind that a terminal gets; a pipe gets all.
const SHOWN_MAX: usize = 20;

/// What an audit found and did, and which command repairs what is left.
///
/// # Errors
/// When `out` cannot be written.
pub fn audit(
    out: &mut impl Write,
    summary: &AuditSummary,
    is_json: bool,
    screen: Screen,
) -> io::Result<()> {
    if is_json {
        return json(out, summary);
    }
    let mut by_account: BTreeMap<&str, BTreeMap<FindingKind, Vec<&Finding>>> = BTreeMap::new();
    for finding in &summary.findings {
        let of_account = by_account.entry(finding.account.as_str()).or_default();
        of_account.entry(finding.kind).or_default().push(finding);
    }
    for (account, by_kind) in &by_account {
        writeln!(out, "account {account}")?;
        for (kind, findings) in by_kind {
            one_kind(out, *kind, findings, screen)?;
        }
    }
    let about: f64 = summary.findings.iter().map(|finding| finding.usd).sum();
    writeln!(
        out,
        "{} findings about ${:.4}; {} are left",
        summary.findings.len(),
        Usd(about),
        summary.findings_left
    )?;
    repaired(out, &summary.repaired)?;
    for skipped in &summary.skipped {
        let (id, what, fix) = (&skipped.account, &skipped.what, &skipped.fix);
        screen.note(out, &format!("{id} is not repaired: {what} (fix: {fix})"))?;
    }
    for failed in &summary.failed {
        let (id, what, fix) = (&failed.account, &failed.what, &failed.fix);
        screen.note(out, &format!("{id} is not done: {what} (fix: {fix})"))?;
    }
    for named in &summary.to_backfill {
        let days: Vec<String> = named.days.iter().map(ToString::to_string).collect();
        let days = days.join(", ");
        let why = "a backfill has to compute these days, as no run looks at days older than \
                   CATCH_UP_DAYS";
        screen.note(out, &format!("{why}: {days}"))?;
        writeln!(out, "  {}", named.command)?;
    }
    for step in &summary.next_steps {
        screen.note(out, &format!("{}:", step.what))?;
        // In one line, for it to be copied.
        writeln!(out, "  {}", step.command)?;
    }
    Ok(())
}

fn one_kind(
    out: &mut impl Write,
    kind: FindingKind,
    findings: &[&Finding],
    screen: Screen,
) -> io::Result<()> {
    let about: f64 = findings.iter().map(|finding| finding.usd).sum();
    writeln!(out, "  {}: {}, ${:.4}", kind.as_str(), findings.len(), Usd(about))?;
    let most = if screen.is_terminal { SHOWN_MAX } else { usize::MAX };
    let mut last = "";
    for finding in findings.iter().take(most) {
        let day = finding.day.map_or("-".to_owned(), |day| day.to_string());
        let amount = format!("${:.4}", Usd(finding.usd));
        writeln!(out, "    {day:<10} {:<36} {amount:>14}", finding.resource_id)?;
        if finding.what != last {
            screen.note(out, &format!("    {}", finding.what))?;
            last = &finding.what;
        }
    }
    match findings.len().saturating_sub(most) {
        0 => Ok(()),
        more => writeln!(out, "    and {more} more: --output json has all"),
    }
}

fn repaired(out: &mut impl Write, done: &RepairReport) -> io::Result<()> {
    if *done == RepairReport::default() {
        return Ok(());
    }
    writeln!(
        out,
        "{} rows written (${:.4} taken back), {} documents set, {} days to be computed again",
        done.rows_written,
        Usd(done.usd_taken_back),
        done.documents_written,
        done.days_unsettled
    )?;
    if (done.documents_adopted, done.documents_retired) == (0, 0) {
        return Ok(());
    }
    writeln!(
        out,
        "{} documents took over pool, owner or tags; {} earlier documents are retired",
        done.documents_adopted, done.documents_retired
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::AccountId;

    #[test]
    fn findings_fit_eighty_columns_and_zero_has_no_sign() {
        let finding = |usd: f64| Finding {
            account: AccountId::new("aaaaaaaa-0000-0000-0000-00000000000a").unwrap(),
            kind: FindingKind::Sign,
            repaired_by: FindingKind::Sign.repaired_by(),
            resource_id: "bbbbbbbb-0000-8000-8000-00000000000b".into(),
            date_seconds: None,
            day: None,
            usd,
            what: "a sentence that goes on and on, ".repeat(5),
        };
        let findings = vec![finding(-0.000_01), finding(-0.0), finding(123_456.0)];
        let summary = AuditSummary { findings, findings_left: 3, ..AuditSummary::default() };
        let screen = Screen { width: 80, is_terminal: true, has_colors: false };
        let mut out = Vec::new();
        audit(&mut out, &summary, false, screen).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains("-0.0000") && text.contains("$0.0000"), "{text}");
        assert!(text.contains("sign: 3, $123456.0000"), "{text}");
    }
}
