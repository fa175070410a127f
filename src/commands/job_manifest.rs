//! `job-manifest`: a Job for a command by hand, made from the CronJob of a release.
//!
//! Pure but for reading the CronJob and printing: the cluster is asked by kubectl, not from here.

use std::io::Read;

use serde_json::{Value, json};

use super::{CliError, Context};

/// The longest CronJob that is read, bytes: Kubernetes itself takes no larger object.
const CRONJOB_BYTES_MAX: u64 = 2 << 20;
/// Commands that do their own part of the accounts, so one Pod for each shard.
const SHARDED: [&str; 2] = ["run", "backfill"];

/// `job-manifest`: reads the CronJob as JSON and prints a Job that runs the arguments.
///
/// # Errors
/// When the CronJob cannot be read or is none of this program's.
pub fn job_manifest(context: &Context) -> Result<u8, CliError> {
    let path = context.argument("cronjob").unwrap_or("-");
    let arguments: Vec<String> =
        context.matches.get_many::<String>("arguments").into_iter().flatten().cloned().collect();
    let text = read(path).map_err(|error| {
        CliError::Argument(format!("--cronjob '{path}' cannot be read: {error}"))
    })?;
    let cronjob: Value = serde_json::from_str(&text).map_err(|error| {
        let example = "kubectl -n NS get cronjob kubecost-worker -o json";
        CliError::Argument(format!(
            "--cronjob '{path}' is no JSON: {error}; take that of {example}"
        ))
    })?;
    let suffix = uuid::Uuid::new_v4().simple().to_string();
    let job = job(&cronjob, &arguments, &suffix[..8])
        .map_err(|what| CliError::Argument(format!("--cronjob '{path}' {what}")))?;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &job).map_err(std::io::Error::from)?;
    std::io::Write::write_all(&mut out, b"\n")?;
    Ok(0)
}

fn read(path: &str) -> std::io::Result<String> {
    let mut text = String::new();
    let reader: Box<dyn Read> = match path {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(std::fs::File::open(path)?),
    };
    reader.take(CRONJOB_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// A Job of the CronJob's Pod that runs `arguments`: with a suffix to its name, since `kubectl
/// apply` takes no `generateName`; owned by nothing, so that neither an upgrade nor the CronJob's history removes it, and without the deadline of a
/// regular run.
fn job(cronjob: &Value, arguments: &[String], suffix: &str) -> Result<Value, String> {
    if cronjob["kind"] != "CronJob" {
        return Err("is no CronJob".to_owned());
    }
    let template = &cronjob["spec"]["jobTemplate"];
    let command = arguments.first().map_or("", String::as_str);
    let (Some(name), Some(mut spec)) =
        (cronjob["metadata"]["name"].as_str(), template["spec"].as_object().cloned())
    else {
        return Err("has no name or no jobTemplate".to_owned());
    };
    spec.remove("activeDeadlineSeconds");
    let is_sharded = spec.contains_key("completions");
    if is_sharded && !SHARDED.contains(&command) {
        // One Pod for all accounts; `backoffLimitPerIndex` belongs to Indexed Jobs only.
        for field in [
            "completionMode",
            "completions",
            "parallelism",
            "backoffLimitPerIndex",
            "maxFailedIndexes",
        ] {
            spec.remove(field);
        }
        spec.remove("podFailurePolicy");
        spec.insert("backoffLimit".to_owned(), json!(0));
    }
    let container = spec
        .get_mut("template")
        .and_then(|template| template.pointer_mut("/spec/containers"))
        .and_then(Value::as_array_mut)
        .and_then(|all| all.iter_mut().find(|one| one["name"] == "kubecost-worker"))
        .ok_or("has no container kubecost-worker")?;
    container["args"] = json!(arguments);
    if is_sharded
        && !SHARDED.contains(&command)
        && let Some(variables) = container["env"].as_array_mut()
    {
        variables.retain(|variable| variable["name"] != "SHARD_COUNT");
    }
    let short: String = name.chars().take(40).collect();
    Ok(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": format!("{short}-{command}-{suffix}"),
            "namespace": cronjob["metadata"]["namespace"],
            "labels": template["metadata"]["labels"],
        },
        "spec": spec,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cronjob(sharded: bool) -> Value {
        let mut spec = json!({
            "activeDeadlineSeconds": 3600,
            "backoffLimit": 2,
            "template": {"spec": {"containers": [
                {"name": "kubecost-worker", "args": ["run"], "env": [{"name": "SHARD_COUNT", "value": "4"}]},
            ]}},
        });
        if sharded {
            spec["completions"] = json!(4);
            spec["completionMode"] = json!("Indexed");
            spec["backoffLimitPerIndex"] = json!(2);
            spec["podFailurePolicy"] = json!({"rules": []});
        }
        json!({
            "kind": "CronJob",
            "metadata": {"name": "kubecost-worker", "namespace": "ct", "uid": "u"},
            "spec": {"jobTemplate": {"metadata": {"labels": {"app": "x"}}, "spec": spec}},
        })
    }

    fn made(sharded: bool, arguments: &[&str]) -> Value {
        let arguments: Vec<_> = arguments.iter().map(|word| (*word).to_owned()).collect();
        job(&cronjob(sharded), &arguments, "0123abcd").unwrap()
    }

    #[test]
    fn a_job_by_hand_has_no_owner_and_no_deadline_and_a_name_of_its_own() {
        let job = made(false, &["backfill", "--from", "2026-11-01", "--to", "2026-11-05"]);
        assert_eq!(job["metadata"]["name"], "kubecost-worker-backfill-0123abcd");
        assert_eq!(job["metadata"]["namespace"], "ct");
        assert!(job["metadata"]["ownerReferences"].is_null());
        assert!(job["spec"]["activeDeadlineSeconds"].is_null());
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["args"][4], "2026-11-05");
    }

    #[test]
    fn a_backfill_keeps_the_shards_and_an_audit_sees_all_accounts() {
        let backfill = made(true, &["backfill"]);
        assert_eq!(backfill["spec"]["completions"], 4);
        assert_eq!(backfill["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"], "4");
        let audit = made(true, &["audit"]);
        for field in ["completions", "completionMode", "backoffLimitPerIndex"] {
            assert!(audit["spec"][field].is_null(), "{field}");
        }
        assert_eq!(audit["spec"]["template"]["spec"]["containers"][0]["env"], json!([]));
    }

    #[test]
    fn what_is_no_cronjob_of_this_program_is_refused() {
        let job = |cronjob: &Value| super::job(cronjob, &["run".to_owned()], "0123abcd");
        assert!(job(&json!({"kind": "Job"})).unwrap_err().contains("no CronJob"));
        let mut other = cronjob(false);
        other["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["name"] =
            json!("x");
        assert!(job(&other).unwrap_err().contains("no container"));
    }
}
