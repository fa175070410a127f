//! `job-manifest`: a Job for a command by hand, made from the CronJob or the Deployment of a release.
//!
//! Pure but for reading the workload and printing: the cluster is asked by kubectl, not from here.

use std::io::Read;

use serde_json::{Map, Value, json};

use super::{CliError, Context};

/// The longest workload that is read, bytes: Kubernetes itself takes no larger object.
const WORKLOAD_BYTES_MAX: u64 = 2 << 20;
/// Commands that do their own part of the accounts, so one Pod for each shard.
const SHARDED: [&str; 2] = ["run", "backfill"];
/// Argo CD counts what has this label to the application of that name, and prunes what the
/// application's source does not have.
const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
/// What the chart's Service selects its Pods by.
const COMPONENT_LABEL: &str = "app.kubernetes.io/component";

/// `job-manifest`: reads the workload as JSON and prints a Job that runs the arguments.
///
/// # Errors
/// When the workload cannot be read or is none of this program's.
pub fn job_manifest(context: &Context) -> Result<u8, CliError> {
    let path = context.argument("workload").unwrap_or("-");
    let arguments: Vec<String> =
        context.matches.get_many::<String>("arguments").into_iter().flatten().cloned().collect();
    let ttl_seconds = context.matches.get_one::<u32>("ttl-seconds").copied();
    let wrong = |what: String| CliError::Argument(format!("--workload '{path}' {what}"));
    let text = read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let workload: Value = serde_json::from_str(&text).map_err(|error| {
        let example = "kubectl -n NS get cronjob kubecost-worker -o json";
        wrong(format!("is no JSON: {error}; take that of {example}, or of get deployment"))
    })?;
    let suffix = uuid::Uuid::new_v4().simple().to_string();
    let job = job(&workload, &arguments, ttl_seconds, &suffix[..8]).map_err(wrong)?;
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
    reader.take(WORKLOAD_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// A Job of the workload's Pod that runs `arguments`: with a suffix to its name, since `kubectl
/// apply` takes no `generateName`; owned by nothing, so that neither an upgrade nor the CronJob's
/// history removes it, and without the deadline of a regular run.
fn job(
    workload: &Value,
    arguments: &[String],
    ttl_seconds: Option<u32>,
    suffix: &str,
) -> Result<Value, String> {
    let command = arguments.first().map_or("", String::as_str);
    let name = workload["metadata"]["name"].as_str().ok_or("has no name")?;
    let (mut labels, mut spec) = match workload["kind"].as_str() {
        Some("CronJob") => of_cronjob(workload),
        Some("Deployment") => of_deployment(workload),
        _ => return Err("is neither a CronJob nor a Deployment".to_owned()),
    }
    .ok_or("has no template of a Pod")?;
    labels.remove(INSTANCE_LABEL);
    spec.remove("activeDeadlineSeconds");
    spec.insert("ttlSecondsAfterFinished".to_owned(), json!(ttl_seconds));
    let container = container_mut(&mut spec).ok_or("has no container kubecost-worker")?;
    container.insert("args".to_owned(), json!(arguments));
    // What belongs to `schedule`: a command by hand serves nothing that could be asked.
    for field in ["ports", "livenessProbe", "readinessProbe"] {
        container.remove(field);
    }
    if spec.contains_key("completions") && !SHARDED.contains(&command) {
        join_shards(&mut spec);
    }
    let short: String = name.chars().take(40).collect();
    Ok(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": format!("{short}-{command}-{suffix}"),
            "namespace": workload["metadata"]["namespace"],
            "labels": labels,
        },
        "spec": spec,
    }))
}

/// The container of this program in a Job's spec.
fn container_mut(spec: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    let containers = spec.get_mut("template")?.pointer_mut("/spec/containers")?.as_array_mut()?;
    containers.iter_mut().find(|one| one["name"] == "kubecost-worker")?.as_object_mut()
}

/// One Pod for all accounts; `backoffLimitPerIndex` belongs to Indexed Jobs only.
fn join_shards(spec: &mut Map<String, Value>) {
    for field in [
        "completionMode",
        "completions",
        "parallelism",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
        "podFailurePolicy",
    ] {
        spec.remove(field);
    }
    spec.insert("backoffLimit".to_owned(), json!(0));
    let variables = container_mut(spec).and_then(|container| container.get_mut("env"));
    if let Some(variables) = variables.and_then(Value::as_array_mut) {
        variables.retain(|variable| variable["name"] != "SHARD_COUNT");
    }
}

/// Labels and spec of a CronJob's Jobs.
fn of_cronjob(cronjob: &Value) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let template = &cronjob["spec"]["jobTemplate"];
    let labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    Some((labels, template["spec"].as_object().cloned()?))
}

/// Labels and spec of a Job of a Deployment's Pod, which is tried once.
fn of_deployment(deployment: &Value) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let mut template = deployment["spec"]["template"].clone();
    template.get_mut("spec")?.as_object_mut()?.insert("restartPolicy".to_owned(), json!("Never"));
    let labels = template.pointer_mut("/metadata/labels")?.as_object_mut()?;
    // Else the Deployment's Service would send its metrics' readers to this Pod.
    labels.insert(COMPONENT_LABEL.to_owned(), json!("run"));
    let labels = labels.clone();
    let spec = [("backoffLimit".to_owned(), json!(0)), ("template".to_owned(), template)];
    Some((labels, spec.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Value {
        json!({"app": "kubecost-worker", INSTANCE_LABEL: "worker", COMPONENT_LABEL: "schedule"})
    }

    fn cronjob(sharded: bool) -> Value {
        let mut spec = json!({
            "activeDeadlineSeconds": 3600,
            "backoffLimit": 2,
            "ttlSecondsAfterFinished": 0,
            "template": {"metadata": {"labels": labels()}, "spec": {"containers": [
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
            "spec": {"jobTemplate": {"metadata": {"labels": labels()}, "spec": spec}},
        })
    }

    fn deployment() -> Value {
        let container = json!({
            "name": "kubecost-worker",
            "args": ["schedule"],
            "ports": [{"name": "metrics", "containerPort": 19090}],
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": "metrics"}},
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "metrics"}},
        });
        json!({
            "kind": "Deployment",
            "metadata": {"name": "kubecost-worker", "namespace": "ct", "labels": labels()},
            "spec": {"replicas": 1, "template": {
                "metadata": {"labels": labels()},
                "spec": {"restartPolicy": "Always", "containers": [container]},
            }},
        })
    }

    fn made_of(workload: &Value, arguments: &[&str]) -> Value {
        let arguments: Vec<_> = arguments.iter().map(|word| (*word).to_owned()).collect();
        job(workload, &arguments, Some(60), "0123abcd").unwrap()
    }

    fn made(sharded: bool, arguments: &[&str]) -> Value {
        made_of(&cronjob(sharded), arguments)
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
    fn a_job_by_hand_is_not_counted_to_the_release_but_its_pod_is() {
        for workload in [cronjob(false), deployment()] {
            let job = made_of(&workload, &["backfill"]);
            let labels = &job["metadata"]["labels"];
            assert_eq!(
                (&labels["app"], &labels[INSTANCE_LABEL]),
                (&"kubecost-worker".into(), &Value::Null)
            );
            // The NetworkPolicy goes by it.
            assert_eq!(job["spec"]["template"]["metadata"]["labels"][INSTANCE_LABEL], "worker");
        }
    }

    #[test]
    fn a_job_by_hand_goes_when_it_was_asked_to_and_not_as_regular_runs_do() {
        let ttl_seconds =
            |workload| made_of(&workload, &["audit"])["spec"]["ttlSecondsAfterFinished"].clone();
        assert_eq!([cronjob(false), deployment()].map(ttl_seconds), [60, 60]);
    }

    #[test]
    fn a_job_of_a_deployment_ends_and_gets_none_of_its_traffic() {
        let job = made_of(&deployment(), &["audit", "--account", "one"]);
        assert_eq!(job["metadata"]["name"], "kubecost-worker-audit-0123abcd");
        assert_eq!(
            (&job["spec"]["backoffLimit"], &job["spec"]["replicas"]),
            (&0.into(), &Value::Null)
        );
        let template = &job["spec"]["template"];
        assert_eq!(template["spec"]["restartPolicy"], "Never");
        assert_eq!(template["metadata"]["labels"][COMPONENT_LABEL], "run");
        let container = template["spec"]["containers"][0].as_object().unwrap();
        let fields: Vec<_> = container.keys().collect();
        assert_eq!(fields, ["name", "args"]);
        assert_eq!(container["args"], json!(["audit", "--account", "one"]));
    }

    #[test]
    fn what_is_no_workload_of_this_program_is_refused() {
        let job = |workload: &Value| super::job(workload, &["run".to_owned()], None, "0123abcd");
        let named = |kind: &str| json!({"kind": kind, "metadata": {"name": "x"}});
        assert!(job(&named("Job")).unwrap_err().contains("neither a CronJob nor a Deployment"));
        for kind in ["CronJob", "Deployment"] {
            assert!(job(&named(kind)).unwrap_err().contains("no template"), "{kind}");
        }
        let mut other = cronjob(false);
        other["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["name"] =
            json!("x");
        assert!(job(&other).unwrap_err().contains("no container"));
    }
}
