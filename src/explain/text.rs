//! An explanation for people: no line is wider than 100 columns.

use std::io::{self, Write};

use crate::service::usd::Usd;
use crate::service::wrap::wrap;
use crate::source::ReadPart;

use super::model::{Explanation, Hour, Step};

/// The greatest width of a line.
pub const WIDTH: usize = 100;
/// Most questions that are shown.
const QUESTIONS_MAX: usize = 5;
/// Most parts of a day that are shown.
const PARTS_MAX: usize = 24;

/// Writes an explanation.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut impl Write, one: &Explanation) -> io::Result<()> {
    let mut lines = Lines { out };
    let subject = &one.subject;
    let names = [Some(&subject.cluster), subject.namespace.as_ref(), subject.pod.as_ref()];
    let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
    lines.put("", &format!("{} {} of account {}", subject.level, names.join("/"), one.account))?;
    let stored = one.stored_usd.map_or("no row".to_owned(), |usd| format!("${:.9}", Usd(usd)));
    lines.put("", &format!("{}: {stored}. {}.", one.day, one.verdict))?;
    if let Some(bound) = &one.bound {
        lines.put(
            "",
            &format!(
                "It may be low by up to ${:.6} (gaps: ${:.6}) and high by up to ${:.6}.",
                Usd(bound.low_by_usd),
                Usd(bound.gaps_usd),
                Usd(bound.high_by_usd)
            ),
        )?;
    }
    stored_side(&mut lines, one)?;
    source_side(&mut lines, one)?;
    arithmetic(&mut lines, &one.steps, &one.roll_up_notes)?;
    hours(&mut lines, &one.hours)?;
    questions(&mut lines, one)
}

/// Writes wrapped lines.
struct Lines<'a, W: Write> {
    out: &'a mut W,
}

impl<W: Write> Lines<'_, W> {
    /// A text after an indent, broken at blanks, and inside of words where one is too long.
    fn put(&mut self, indent: &str, text: &str) -> io::Result<()> {
        for line in wrap(text, WIDTH - indent.len()) {
            writeln!(self.out, "{indent}{line}")?;
        }
        Ok(())
    }

    fn head(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "\n{text}")
    }
}

/// A time, Unix seconds, in a form of [`chrono::format::strftime`].
fn time(seconds: i64, form: &str) -> String {
    chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_default().format(form).to_string()
}

fn stored_side<W: Write>(lines: &mut Lines<'_, W>, one: &Explanation) -> io::Result<()> {
    lines.head("Stored")?;
    match &one.document {
        Some(document) => {
            lines.put("  ", &format!("document  {} ({})", document.id, document.name))?;
        }
        None => lines.put("  ", "document  none among the day's rows")?,
    }
    lines.put("  ", &format!("stable id {}", one.subject.cloud_resource_id))?;
    for row in &one.rows {
        let mut text = format!("row       ${} x sign {}", row.cost_usd, row.sign);
        if let Some(node) = &row.node {
            text.push_str(&format!(", node {node}"));
        }
        lines.put("  ", &text)?;
        for (sign, usd) in &row.unpaired {
            lines.put("            ", &format!("not paired: ${usd} x sign {sign}: see audit"))?;
        }
    }
    let Some(status) = &one.status else { return lines.put("  ", "status    none") };
    let attempt = &status.attempt;
    let state = one.day_state.unwrap_or(attempt.state);
    let settled = if attempt.is_settled { "settled" } else { "not settled" };
    lines.put(
        "  ",
        &format!(
            "status    {}, {settled}; last written by run {} at {}",
            state.as_str(),
            attempt.run_id,
            time(attempt.at_seconds, "%Y-%m-%d %H:%M:%S UTC")
        ),
    )?;
    if let Some(bound) = &status.stored.bound {
        let text = format!(
            "day's total ${:.6}: low by up to ${:.6} (gaps: ${:.6}), high by up to ${:.6}",
            Usd(status.stored.total_usd),
            Usd(bound.low_by_usd),
            Usd(bound.gaps_usd),
            Usd(bound.high_by_usd)
        );
        lines.put("            ", &text)?;
    }
    if !one.day_cause.is_empty() {
        lines.put("            ", &format!("cause: {}", one.day_cause))?;
    }
    if let Some(at_seconds) = status.older_pods_at() {
        let until = match status.attempt.is_settled {
            // A guard objected to the write that was due when the day was over.
            true => "",
            false => " until the next refresh (TODAY_REFRESH)",
        };
        let text = format!(
            "pods: their rows are as of {}; what they cost since is in the rows of their \
             namespaces{until}",
            time(at_seconds, "%H:%M:%S UTC")
        );
        lines.put("            ", &text)?;
    }
    for one in &status.overrides {
        let text = format!("guard {} overridden: {}", one.guard.as_str(), one.reason);
        lines.put("            ", &text)?;
    }
    for (currency, rate) in &status.stored.exchange_rates {
        lines.put("            ", &format!("1 {currency} was taken for {rate}"))?;
    }
    Ok(())
}

fn source_side<W: Write>(lines: &mut Lines<'_, W>, one: &Explanation) -> io::Result<()> {
    lines.head("Source")?;
    let Some(source) = &one.source else { return lines.put("  ", "nothing to ask for") };
    let metrics = match one.raw.as_ref().map(|raw| raw.method) {
        Some("allocation-api") => "sets of rows".to_owned(),
        Some("metroculus") => "rates, seen every five minutes or as history".to_owned(),
        _ if source.phase == 2 => "phase 2, the exporter's gauges".to_owned(),
        _ => "phase 1, raw metrics".to_owned(),
    };
    lines.put("  ", &format!("{}: {metrics}", source.address))?;
    let coverage = format!("{} of {} minutes", source.covered_minutes, source.expected_minutes);
    lines.put("  ", &format!("covered {coverage}; lag {} s", source.lag_seconds))?;
    if source.scaled_by != 1.0 {
        lines.put("  ", &format!("multiplied by {} to stand for gaps", source.scaled_by))?;
    }
    for note in &source.notes {
        lines.put("  ", &format!("note: {note}"))?;
    }
    let Some(reading) = one.raw.as_ref().map(|raw| &raw.reading) else { return Ok(()) };
    if let Some(scrapers) = &reading.scrapers {
        let ranked: Vec<String> = scrapers.ranked.iter().map(|of| of.join(" ")).collect();
        let labels = scrapers.labels.join(", ");
        let text = "of scrapers that differ by {} one counts at a time, the first that has samples";
        let text = text.replace("{}", &labels);
        lines.put("  ", &format!("{text}: {}", ranked.join(", ")))?;
    }
    let is_own = |part: &&ReadPart| part.cluster == one.subject.cluster && part.at.is_some();
    for part in reading.parts.iter().filter(is_own).take(PARTS_MAX) {
        let clock = |seconds| time(seconds, "%d. %H:%M");
        let (start, end, at) =
            (clock(part.start), clock(part.end), part.at.map_or_else(String::new, clock));
        lines.put("  ", &format!("{start} to {end} is what was shown at {at}"))?;
    }
    Ok(())
}

fn arithmetic<W: Write>(
    lines: &mut Lines<'_, W>,
    steps: &[Step],
    notes: &[String],
) -> io::Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    lines.head("Arithmetic: source, rounded to 2^-24 USD, less the rows beneath, is the row")?;
    for step in steps {
        let source = match step.source_usd {
            Some(usd) => format!("${:.9}", Usd(usd)),
            None if step.is_of_rows => "stored rows".to_owned(),
            None => "no total".to_owned(),
        };
        lines.put("  ", &format!("{} {}", step.level, step.name))?;
        lines.put(
            "    ",
            &format!(
                "{source} -> ${:.9} - ${:.9} ({} rows) = ${:.9}",
                Usd(step.rounded_usd),
                Usd(step.beneath_usd),
                step.rows_beneath,
                Usd(step.row_usd)
            ),
        )?;
    }
    for note in notes {
        lines.put("  ", &format!("note: {note}"))?;
    }
    Ok(())
}

fn hours<W: Write>(lines: &mut Lines<'_, W>, hours: &[Hour]) -> io::Result<()> {
    if hours.is_empty() {
        return Ok(());
    }
    lines.head("By hour (UTC): USD, minutes with samples")?;
    let most = hours.iter().map(|hour| hour.usd).fold(0.0, f64::max);
    for hour in hours {
        let share = if most > 0.0 { hour.usd / most } else { 0.0 };
        let bar = crate::report::text::bar(share, 40);
        let text = format!(
            "{} {:>14.6} {:>3} {bar}",
            time(hour.start, "%H:%M"),
            Usd(hour.usd),
            hour.minutes
        );
        writeln!(lines.out, "  {}", text.trim_end())?;
    }
    Ok(())
}

fn questions<W: Write>(lines: &mut Lines<'_, W>, one: &Explanation) -> io::Result<()> {
    if one.questions.is_empty() {
        return Ok(());
    }
    lines.head(
        "Questions (PromQL at the given Unix time, or a GET; of replicas one counts at a time)",
    )?;
    for question in one.questions.iter().take(QUESTIONS_MAX) {
        let at = question.time.map_or(String::new(), |time| format!(" at {time}"));
        lines.put("  ", &format!("{}{at}:", question.what))?;
        lines.put("    ", &question.query)?;
    }
    match one.questions.len().saturating_sub(QUESTIONS_MAX) {
        0 => Ok(()),
        more => lines.put("  ", &format!("and {more} more of that kind (--output json)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_and_long_words_where_they_must() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("aaaaaaa b", 3), ["aaa", "aaa", "a b"]);
        assert_eq!(wrap("x\u{1b}y", 9), ["x\u{fffd}y"]);
        let long = "word ".repeat(400) + &"x".repeat(950);
        assert!(wrap(&long, WIDTH).iter().all(|line| line.chars().count() <= WIDTH));
    }
}
