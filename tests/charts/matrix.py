"""Sets of values as clusters have them: each rendered, held against Kubernetes' schemas, and looked into.

usage: matrix.py [--write DIR] CHARTS SCHEMAS HELM-OPTION...     --write: keeps values and manifests of each set, for the control plane
"""

import os
import subprocess
import sys
import tempfile

import yaml

import documents
import matrix_looks as look
from matrix_looks import ACCOUNT, DIGEST

WORKER = {
    "config": {"PROMETHEUS_URL": "http://thanos-query.default.svc:10902", "CLICKHOUSE_URL": "http://clickhouse.default.svc:8123"},
    "secrets": {"existingSecret": "kubecost-worker-secrets"},
}
INTEGRATION = {
    "tenantId": ACCOUNT,
    "clusterName": "eu-1",
    "remoteWrite": {"url": "https://cloudtuner.example.org/write", "username": "eu-1", "existingSecret": "cloudtuner-basic-auth"},
}


def external_secret(name):
    return {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": name}, "spec": {"refreshInterval": "1h"}}


def of_document(name):
    """The values in a document's first block."""
    with open(os.path.join(os.path.dirname(__file__), "../../docs", name)) as file:
        return yaml.safe_load(documents.blocks(file.read())[0])


PROXY = {"httpsProxy": "http://proxy.corp:3128", "noProxy": ["10.0.0.0/8"]}
NETWORK = {
    "egressUdpPorts": [4789],
    "egressTo": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
    "extraEgress": [{"ports": [{"protocol": "TCP", "port": 5432}]}],
}
EVERYTHING = {
    "extraEnv": [{"name": "A", "value": "b"}],
    "extraEnvFrom": [{"secretRef": {"name": "more"}}],
    "serviceAccount": {"create": False, "name": "mine"},
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["mongo"]}],
    "dnsConfig": {"nameservers": ["10.0.0.10"]},
    "dnsPolicy": "None",
    "topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app.kubernetes.io/part-of": "cloudtuner"}}}],
    "commonLabels": {"team": "finops"},
}
PUSHED = {"pushUrl": "http://pushgateway.monitoring.svc:9091"}
RATES = {
    "extraVolumes": [{"name": "rates", "configMap": {"name": "rates"}}],
    "extraVolumeMounts": [{"name": "rates", "mountPath": "/rates"}],
}
KUBECOST = {"release": "kubecost", "namespace": "kubecost"}
PROMETHEUS_3 = {"image": {"tag": "v3.5.0"}}

# chart, what it is, values (or a file of the chart), what must be so besides what always is
CASES = [
    ("worker", "the least", {}, look.of_the_least),
    ("worker", "OpenShift, restricted", "values-openshift.yaml", look.of_openshift),
    ("worker", "private CA", {"caBundle": {"configMap": "corp-ca", "key": "bundle.pem"}}, look.of_private_ca),
    ("worker", "client certificate", {"clientCertificate": {"secret": "own-tls"}}, look.of_client_certificate),
    ("worker", "proxy", {"proxy": PROXY}, look.of_proxy),
    ("worker", "four shards", {"shards": 4, "alerts": {"enabled": True}, "metrics": PUSHED}, look.of_shards),
    (
        "worker",
        "a Job that fails by one account",
        {"config": {"FAIL_ON": "account"}, "alerts": {"enabled": True},
         "extraEnv": [{"name": "METRICS_PUSHGATEWAY_URL", "valueFrom": {"secretKeyRef": {"name": "gateway", "key": "url"}}}]},
        look.of_failing("warning", "Some accounts"),
    ),
    ("worker", "alerts of a deployment", {"mode": "deployment", "alerts": {"enabled": True}}, look.of_failing("critical", "All accounts")),
    (
        "worker",
        "Argo CD",
        {**of_document("ARGO-CD.md"), "tests": {"enabled": False}},
        look.of_argo_cd,
    ),
    (
        "worker",
        "hourly, renamed, WINDOW=6h",
        {"schedule": "7 * * * *", "fullnameOverride": "eu", "metrics": PUSHED,
         "alerts": {"enabled": True, "windowSeconds": 21600, "runbookUrl": "https://wiki.example.org/RUNBOOK.md"}},
        look.of_hourly,
    ),
    (
        "worker",
        "deployment, IPv6, operator",
        {"mode": "deployment", "listenAddress": "::",
         "metrics": {"service": {"ipFamilyPolicy": "PreferDualStack"}, "serviceMonitor": {"enabled": True}}},
        look.of_deployment,
    ),
    (
        "worker",
        "deployment, a token for /metrics",
        {"mode": "deployment", "metrics": {"serviceMonitor": {"enabled": True}}, "secrets": {"keys": {"METRICS_TOKEN": "token"}}},
        look.of_token,
    ),
    (
        "worker",
        "deployment, a password and TLS for /metrics",
        {"mode": "deployment", "secrets": {"keys": {"METRICS_USER": "user", "METRICS_PASSWORD": "password"}},
         "metrics": {"serviceMonitor": {"enabled": True, "tlsConfig": {"serverName": "costs"}}},
         "extraEnv": [{"name": "METRICS_TLS_CERT_FILE", "value": "/tls/tls.crt"}, {"name": "METRICS_TLS_KEY_FILE", "value": "/tls/tls.key"}]},
        look.of_password_and_tls,
    ),
    (
        "worker",
        "addresses with ports of their own, two hours",
        {"config": {"PROMETHEUS_URL": "http://vmselect.vm.svc:8481/select/0/prometheus", "REST_URL": "http://restapi.default.svc",
                    "RUN_DEADLINE_SECONDS": "2h", "ACCOUNT_DEADLINE_SECONDS": 300},
         "metrics": {"pushUrl": "http://gateway:9095"}},
        look.of_addresses,
    ),
    ("worker", "deployment, suspended", {"mode": "deployment", "suspend": True}, look.of_suspended),
    (
        "worker",
        "alerts and dashboards for the operator",
        {"alerts": {"enabled": True, "labels": {"release": "prometheus"}}, "dashboards": {"enabled": True}, "metrics": PUSHED},
        look.of_operator_rules,
    ),
    ("worker", "Pushgateway", {"metrics": PUSHED}, look.of_pushgateway),
    ("worker", "NetworkPolicy with destinations", {"networkPolicy": {**NETWORK, "dns": {"to": [{"namespaceSelector": {}}]}}}, look.of_network),
    ("worker", "everything a Pod may have", {**EVERYTHING, **RATES, "job": {"ttlSecondsAfterFinished": 0}}, look.of_everything),
    ("worker", "external secrets", {"extraObjects": [external_secret("{{ .Values.secrets.existingSecret }}")]}, look.of_external_secret),
    ("worker", "a trial with secrets in the values", {"secrets": {"existingSecret": "", "values": {"MONGO_URL": "mongodb://m/"}}}, look.of_trial),
    ("worker", "digest", {"image": {"digest": DIGEST}}, look.by_digest),
    (
        "worker",
        "another kind of store",
        {"config": {"STORE": "sqlite:/data/costs.db"}, "extraVolumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "costs"}}],
         "extraVolumeMounts": [{"name": "data", "mountPath": "/data"}]},
        look.of_another_store,
    ),
    ("integration", "Kubecost 2.4 beside", {"costSource": KUBECOST}, look.beside_kubecost("false")),
    ("integration", "Kubecost 2.8 beside, idle shared evenly", {"costSource": KUBECOST, "exporter": {"shareIdle": "even"}}, look.beside_kubecost("even")),
    ("integration", "Kubecost's own Prometheus", {"prometheus": {"mode": "existing"}}, look.of_existing("scrape_configs")),
    (
        "integration",
        "Kubecost's own Prometheus, recording rules",
        {"prometheus": {"mode": "existing"}, "source": "recordingRules"},
        look.of_existing("rule_files"),
    ),
    ("integration", "OpenCost beside", {"costSource": {"kind": "opencost", "release": "opencost", "namespace": "opencost"}}, look.beside_opencost),
    (
        "integration",
        "recording rules in the bundled Prometheus",
        {"source": "recordingRules", "costSource": KUBECOST, "prometheus": {"bundled": {"retention": "3d"}}},
        look.of_rules,
    ),
    (
        "integration",
        "neither cost model nor Prometheus",
        {"opencost": {"enabled": True}, "prometheus": {"bundled": {"storage": {"size": "20Gi", "storageClass": "fast"}}}},
        look.of_no_prometheus,
    ),
    ("integration", "OpenShift, restricted", "values-openshift.yaml", look.of_openshift),
    ("integration", "private CA", {"caBundle": {"secret": "corp-ca"}, "opencost": {"enabled": True}}, look.of_integration_ca),
    ("integration", "client certificate", {"clientCertificate": {"secret": "own-tls"}}, look.of_exporter_client_certificate),
    ("integration", "proxy", {"proxy": PROXY, "opencost": {"enabled": True}}, look.of_integration_proxy),
    ("integration", "Argo CD", {"opencost": {"enabled": True}}, look.of_no_hooks),
    (
        "integration",
        "an identity at the cloud",
        {"opencost": {"enabled": True}, "serviceAccount": {"annotations": {"iam.example.org/role": "costs"}}},
        look.of_identity,
    ),
    (
        "integration",
        "NetworkPolicy with destinations",
        {"opencost": {"enabled": True}, "networkPolicy": {**NETWORK, "dns": {"ports": [53, 5353]}, "metricsFrom": [{"namespaceSelector": {}}]}},
        look.of_integration_network,
    ),
    (
        "integration",
        "everything a Pod may have",
        {**EVERYTHING, "terminationGracePeriodSeconds": 45, "imagePullSecrets": [{"name": "registry"}], "podAnnotations": {"note": "x"},
         "exporter": RATES, "prometheus": {"bundled": RATES}, "opencost": {"enabled": True, **RATES}},
        look.of_everything_there,
    ),
    (
        "integration",
        "remote_write with a token, headers, TLS and a proxy",
        {"remoteWrite": {"username": "", "authorization": {"type": "Bearer"}, "headers": {"X-Scope-OrgID": "one"},
                         "tlsConfig": {"server_name": "ingress"}, "queueConfig": {"max_shards": 4}, "proxyUrl": "http://proxy.corp:3128"}},
        look.of_remote_write,
    ),
    ("integration", "a ServiceAccount with a name", {"serviceAccount": {"name": "mine"}}, look.of_named_account),
    (
        "integration",
        "OpenCost for the operator's Prometheus",
        {"opencost": {"enabled": True, "prometheusUrl": "http://prometheus-operated.monitoring.svc:9090"},
         "prometheus": {"mode": "serviceMonitor"},
         "networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]}},
        look.of_metrics_from,
    ),
    (
        "integration",
        "the operator, TLS and a token for /metrics",
        {"prometheus": {"mode": "serviceMonitor", "serviceMonitor": {"endpoint": {
            "authorization": {"credentials": {"name": "exporter", "key": "token"}}, "tlsConfig": {"serverName": "costs"}}}},
         "exporter": {"extraEnv": [{"name": "METRICS_TLS_CERT_FILE", "value": "/tls/tls.crt"}, {"name": "METRICS_TOKEN_FILE", "value": "/t"}]}},
        look.of_exporter_tls,
    ),
    ("integration", "the operator", {"prometheus": {"mode": "serviceMonitor"}}, look.of_monitor),
    (
        "integration",
        "WINDOW=6h, renamed",
        {"exporter": {"window": "6h", "fullnameOverride": "costs-eu"}, "alerts": {"enabled": True}, "prometheus": {"mode": "serviceMonitor"}},
        look.of_six_hours,
    ),
    ("integration", "a tag that says no version", {"prometheus": {"bundled": {"majorVersion": 3, "image": {"tag": "latest"}}}}, look.agent("--agent")),
    ("integration", "digests by default", {"opencost": {"enabled": True}}, look.digests_by_default),
    ("integration", "Prometheus 3: not the digest of another tag", {"prometheus": {"bundled": PROMETHEUS_3}}, look.another_tag),
    (
        "integration",
        "a registry of one's own",
        {"prometheus": {"bundled": {"image": {"repository": "registry.corp/prom/prometheus"}}}},
        look.another_registry,
    ),
    ("integration", "digests", {"image": {"digest": DIGEST}, "prometheus": {"bundled": {"image": {"digest": DIGEST}}}}, look.by_digest),
    (
        "integration",
        "IPv6, external secrets",
        {"listenAddress": "fd00::1", "extraObjects": [external_secret("{{ .Values.remoteWrite.existingSecret }}")]},
        look.of_integration_external_secret,
    ),
]

PLAIN = str.maketrans(" ", "-", ",':/")


def merge(base, over):
    out = dict(base)
    for key, value in over.items():
        out[key] = merge(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return out


def values_of(charts, chart, over):
    base = WORKER if chart == "worker" else INTEGRATION
    if isinstance(over, str):
        with open(f"{charts}/kubecost-{chart}/{over}") as file:
            over = yaml.safe_load(file)
    return merge(base, over)


def render(charts, chart, values, options):
    """The manifests of a set of values, and what helm says where it has none."""
    done = subprocess.run(
        ["helm", "template", "test", f"{charts}/kubecost-{chart}", "--namespace", "costs", *options, "--values", values],
        capture_output=True, text=True)
    return done.stdout, done.stderr if done.returncode else ""


def looked_into(text, check):
    documents = [d for d in yaml.safe_load_all(text) if d]
    for each in (look.of_all, check):
        try:
            each(documents)
        except Exception as error:  # noqa: BLE001: any of them is a case that failed
            last = error.__traceback__
            while last.tb_next:
                last = last.tb_next
            return f"{type(error).__name__}: {error} (line {last.tb_lineno})"
    return ""


def main(charts, schemas, options, kept):
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, (chart, name, over, check) in enumerate(CASES):
            path = os.path.join(kept or folder, f"{number:02}-{chart}-{name.translate(PLAIN)}")
            with open(f"{path}.values.yaml", "w") as file:
                yaml.safe_dump(values_of(charts, chart, over), file)
            text, problem = render(charts, chart, f"{path}.values.yaml", options)
            path = f"{path}.yaml"
            with open(path, "w") as file:
                file.write(text)
            if not problem:
                checked = subprocess.run(
                    ["kubeconform", "-strict", "-skip", "ExternalSecret", "-schema-location", schemas, path], capture_output=True, text=True)
                problem = checked.stdout + checked.stderr if checked.returncode else looked_into(text, check)
            if problem:
                bad += 1
                print(f"FAILED {chart}: {name}: {problem}")
    print(f"{len(CASES)} sets of values, {bad} wrong")
    return bad


if __name__ == "__main__":
    arguments = sys.argv[1:]
    keep = arguments[1] if arguments[0] == "--write" else None
    where, schema, *more = arguments[2:] if keep else arguments
    sys.exit(1 if main(where, schema, more, keep) else 0)
