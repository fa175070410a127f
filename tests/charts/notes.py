"""What the charts print after an install (NOTES.txt): commands that fit the release, and settings by the values.

usage: notes.py CHARTS HELM-OPTION...
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

from matrix import INTEGRATION, WORKER, merge
from matrix_looks import ACCOUNT

# `helm template` prints no notes, but any template may include them.
PRINTS_NOTES = '{{ dict "kind" "Notes" "text" (include (print .Template.BasePath "/NOTES.txt") .) | toYaml }}'


def rendered(charts, chart, values, options):
    """The manifests of a chart with its notes among them, as a document of kind Notes; or what helm says where it has none."""
    with tempfile.TemporaryDirectory() as folder:
        copied = shutil.copytree(f"{charts}/kubecost-{chart}", f"{folder}/kubecost-{chart}")
        with open(f"{copied}/templates/printed-notes.yaml", "w") as file:
            file.write(PRINTS_NOTES)
        path = os.path.join(folder, "values.yaml")
        with open(path, "w") as file:
            yaml.safe_dump(values, file)
        done = subprocess.run(
            ["helm", "template", "costs-eu", copied, "--namespace", "costs", *options, "--values", path], capture_output=True, text=True)
    return list(yaml.safe_load_all(done.stdout)) if done.returncode == 0 else done.stderr


def notes(documents):
    return next(d for d in documents if d and d["kind"] == "Notes")["text"]


def of_worker(documents):
    """The label selector of the notes selects the CronJob's Jobs."""
    selector = re.search(r"get jobs -l (\S+)", notes(documents)).group(1)
    job = next(d for d in documents if d["kind"] == "CronJob")["spec"]["jobTemplate"]["metadata"]["labels"]
    assert dict(part.split("=") for part in selector.split(",")).items() <= job.items(), selector


def entry(documents):
    """The remote_write entry that the notes give to the operator's Prometheus resource."""
    lines = notes(documents).split("     remoteWrite:\n", 1)[1].split("\n")
    end = next(number for number, line in enumerate(lines) if not line.startswith("       "))
    (found,) = yaml.safe_load("\n".join(lines[:end]))
    return found


SECRET = {"name": "cloudtuner-basic-auth"}
PLAIN = {
    "name": "cloudtuner",
    "url": "https://cloudtuner.example.org/write",
    "headers": {"Cloud-Account-Id": ACCOUNT},
    "basicAuth": {"username": {**SECRET, "key": "username"}, "password": {**SECRET, "key": "password"}},
    "writeRelabelConfigs": [{"sourceLabels": ["__name__"], "regex": "cloudtuner_kubecost_.*|kubecost_cluster_.*", "action": "keep"}],
    "metadataConfig": {"send": False},
}
OPERATOR = {"prometheus": {"mode": "serviceMonitor"}}
EVERY_SETTING = {
    "authorization": {"type": "Bearer"}, "headers": {"X-Scope-OrgID": "one"}, "tlsConfig": {"server_name": "ingress", "insecure_skip_verify": False},
    "queueConfig": {"max_shards": 4, "retry_on_http_429": True, "batch_send_deadline": "5s"}, "proxyUrl": "http://proxy.corp:3128",
}


def of_operator(documents):
    # By this name the alerts and the dashboard find it.
    assert entry(documents) == PLAIN, entry(documents)


def of_every_setting(documents):
    wanted = {name: value for name, value in PLAIN.items() if name != "basicAuth"}
    wanted |= {
        "headers": {**PLAIN["headers"], "X-Scope-OrgID": "one"},
        "authorization": {"type": "Bearer", "credentials": {**SECRET, "key": "password"}},
        "tlsConfig": {"serverName": "ingress", "insecureSkipVerify": False},
        "queueConfig": {"maxShards": 4, "retryOnRateLimit": True, "batchSendDeadline": "5s"},
        "proxyUrl": "http://proxy.corp:3128",
    }
    assert entry(documents) == wanted, entry(documents)


def of_refused(said):
    assert "remoteWrite.tlsConfig.ca: the Prometheus operator has no such setting" in said, said


def of_existing(documents):
    # --reuse-values without a version takes the newest chart there is.
    assert re.search(r"helm -n KUBECOST upgrade .* --version VERSION --reuse-values", notes(documents)), notes(documents)


# chart, values, what must be so
CASES = [
    ("worker", {"fullnameOverride": "eu"}, of_worker),
    ("integration", OPERATOR, of_operator),
    ("integration", {**OPERATOR, "remoteWrite": EVERY_SETTING}, of_every_setting),
    ("integration", {**OPERATOR, "remoteWrite": {"tlsConfig": {"ca": "PEM"}}}, of_refused),
    ("integration", {"prometheus": {"mode": "existing"}}, of_existing),
]


def main(charts, *options):
    bad = 0
    for chart, over, check in CASES:
        try:
            check(rendered(charts, chart, merge(WORKER if chart == "worker" else INTEGRATION, over), options))
        except Exception as error:  # noqa: BLE001: any of them is a case that failed
            bad += 1
            print(f"FAILED notes of {chart}, {check.__name__}: {type(error).__name__}: {error}")
    print(f"{len(CASES)} sets of values, {bad} wrong")
    return 1 if bad else 0


sys.exit(main(*sys.argv[1:]))
