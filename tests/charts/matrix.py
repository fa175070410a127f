"""Sets of values as clusters have them: each rendered, held against Kubernetes' schemas, and looked into.

usage: matrix.py CHARTS SCHEMAS HELM-OPTION...
"""

import json
import subprocess
import sys
import tempfile

import yaml

WORKER = {
    "config": {"PROMETHEUS_URL": "http://thanos-query.default.svc:10902", "CLICKHOUSE_URL": "http://clickhouse.default.svc:8123"},
    "secrets": {"existingSecret": "kubecost-worker-secrets"},
}
INTEGRATION = {
    "tenantId": "00000000-0000-4000-8000-000000000001",
    "clusterName": "eu-1",
    "remoteWrite": {"url": "https://cloudtuner.example.org/write", "username": "eu-1", "existingSecret": "cloudtuner-basic-auth"},
}
EXTERNAL_SECRET = {
    "apiVersion": "external-secrets.io/v1",
    "kind": "ExternalSecret",
    "metadata": {"name": "{{ .Values.secrets.existingSecret | default .Release.Name }}"},
    "spec": {"refreshInterval": "1h"},
}
DIGEST = "sha256:" + "0123456789abcdef" * 4


def one(documents, kind, suffix=""):
    found = [d for d in documents if d["kind"] == kind and d["metadata"]["name"].endswith(suffix)]
    assert len(found) == 1, f"{len(found)} times {kind} {suffix}"
    return found[0]


def pods(documents):
    """The Pod specs of all workloads."""
    found = []
    for d in documents:
        spec = d.get("spec") or {}
        template = {"CronJob": lambda: spec["jobTemplate"]["spec"]["template"], "Pod": lambda: d}.get(
            d["kind"], lambda: spec.get("template")
        )()
        if template and d["kind"] in ("CronJob", "Job", "Deployment", "Pod"):
            found.append(template["spec"])
    assert found
    return found


def env(pod):
    return {e["name"]: e.get("value") for e in pod["containers"][0].get("env", [])}


def kinds(documents):
    return {d["kind"] for d in documents}


def prometheus(documents):
    return yaml.safe_load(one(documents, "ConfigMap", "-prometheus")["data"]["prometheus.yml"])


def agent_flag(documents):
    return [a for a in one(documents, "Deployment", "-prometheus")["spec"]["template"]["spec"]["containers"][0]["args"] if "agent" in a][0]


def ports(policy):
    return {(p["protocol"], p["port"]) for rule in policy["spec"]["egress"] for p in rule.get("ports", [])}


def of_openshift(documents):
    for pod in pods(documents):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(pod["securityContext"]), pod["securityContext"]
        assert pod["securityContext"]["runAsNonRoot"]
    assert all(("UDP", 5353) in ports(d) for d in documents if d["kind"] == "NetworkPolicy")


def of_private_ca(documents):
    for pod in pods(documents):
        assert env(pod)["SSL_CERT_FILE"] == "/etc/kubecost-worker/ca/ca.crt" and env(pod)["SSL_CERT_DIR"]
        volume = next(v for v in pod["volumes"] if v["name"] == "ca")
        assert volume["configMap"] == {"name": "corp-ca", "items": [{"key": "bundle.pem", "path": "ca.crt"}]}
        assert any(m["name"] == "ca" for m in pod["containers"][0]["volumeMounts"])


def of_integration_ca(documents):
    exporter = one(documents, "Deployment", "exporter")["spec"]["template"]["spec"]
    assert env(exporter)["KUBECOST_CA_FILE"] == "/etc/kubecost-integration/ca/ca.crt"
    assert prometheus(documents)["remote_write"][0]["tls_config"] == {"ca_file": "/etc/kubecost-integration/ca/ca.crt"}
    assert all(any(v["name"] == "ca" for v in pod["volumes"]) for pod in pods(documents))


def of_proxy(documents):
    for pod in pods(documents):
        assert env(pod)["HTTPS_PROXY"] == "http://proxy.corp:3128"
        assert env(pod)["NO_PROXY"].split(",")[-2:] == [".cluster.local", "10.0.0.0/8"]


def of_bare_values(documents):
    assert all(pod["automountServiceAccountToken"] is False for pod in pods(documents))
    for d in documents:
        wanted = {"name", "instance", "version", "component", "part-of", "managed-by"}
        assert wanted <= {k.removeprefix("app.kubernetes.io/") for k in d["metadata"]["labels"]} or d["kind"] == "Pod", d["metadata"]
    # Helm waits 300 s for its hooks.
    assert one(documents, "Job", "-migrate")["spec"]["activeDeadlineSeconds"] < 300
    rules = one(documents, "CronJob")["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert [(r["action"], r.get("onExitCodes", {}).get("values")) for r in rules] == [("FailJob", [2]), ("FailJob", [1]), ("Ignore", None)]


def of_shards(documents):
    job = one(documents, "CronJob")["spec"]["jobTemplate"]["spec"]
    assert job["completions"] == 4 and job["podFailurePolicy"]["rules"][1]["action"] == "FailIndex"
    text = json.dumps(one(documents, "PrometheusRule"))
    assert 'shard=~\\"0|1|2|3\\"' in text and "< (4)" in text and 'shard=~\\".*\\"' not in text


def of_argo_cd(documents):
    job = one(documents, "Job", "-migrate")
    assert job["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "Sync"
    assert "helm.sh/hook" not in job["metadata"]["annotations"]
    assert "Pod" not in kinds(documents)


def of_hourly(documents):
    text = json.dumps(one(documents, "PrometheusRule"))
    assert "2 * (3600) + 1200" in text and "(300)" not in text and "for\": \"10800s" in text and "(21600)" in text
    assert 'cronjob=\\"eu\\"' in text and "eu-[0-9]+" in text and 'namespace=\\"costs\\"' in text
    assert "https://wiki.example.org/RUNBOOK.md#k8sexpensesstale" in text


def of_deployment(documents):
    pod = one(documents, "Deployment")["spec"]["template"]["spec"]
    assert env(pod)["METRICS_ADDR"] == "[::]:19090" and pod["terminationGracePeriodSeconds"] == 150
    assert one(documents, "Service")["spec"]["ipFamilyPolicy"] == "PreferDualStack"
    assert "ServiceMonitor" in kinds(documents)


def of_network(documents):
    policy = one(documents, "NetworkPolicy")
    assert ("UDP", 4789) in ports(policy) and policy["spec"]["egress"][1]["to"][0]["ipBlock"]["cidr"] == "10.1.0.0/16"
    assert policy["spec"]["egress"][0]["to"] and policy["spec"]["egress"][-1]["ports"][0]["port"] == 5432


def of_everything(documents):
    for pod in pods(documents):
        assert pod["hostAliases"] and pod["dnsConfig"] and pod["topologySpreadConstraints"] and pod["dnsPolicy"] == "None"
        container = pod["containers"][0]
        assert {"secretRef": {"name": "more"}} in container["envFrom"] and env(pod)["A"] == "b"
        assert any(v["name"] == "rates" for v in pod["volumes"]) and pod["serviceAccountName"] == "mine"
    assert "ServiceAccount" not in kinds(documents)
    assert one(documents, "CronJob")["spec"]["jobTemplate"]["spec"]["ttlSecondsAfterFinished"] == 3600
    assert all(d["metadata"]["labels"]["team"] == "finops" for d in documents if d["kind"] != "ExternalSecret")


def of_kubecost(version):
    def look(documents):
        url = env(one(documents, "Deployment", "exporter")["spec"]["template"]["spec"])["KUBECOST_URL"]
        assert url == "http://kubecost-cost-analyzer.kubecost.svc.cluster.local:9090", (version, url)
        assert agent_flag(documents) == "--enable-feature=agent"
        assert not {"ClusterRole", "ClusterRoleBinding"} & kinds(documents)
    return look


def of_no_prometheus(documents):
    one(documents, "Deployment", "-opencost")
    role = one(documents, "ClusterRole", "-opencost")
    assert not [r for rule in role["rules"] for r in rule["resources"] if r in ("secrets", "configmaps", "*")]
    assert all(set(rule["verbs"]) <= {"get", "list", "watch"} for rule in role["rules"])
    assert ("TCP", 443) in ports(one(documents, "NetworkPolicy", "-opencost"))
    assert one(documents, "PersistentVolumeClaim")["spec"]["resources"]["requests"]["storage"] == "20Gi"


def of_remote_write(documents):
    entry = prometheus(documents)["remote_write"][0]
    assert entry["authorization"] == {"type": "Bearer", "credentials_file": "/etc/remote-write/password"} and "basic_auth" not in entry
    assert entry["headers"] == {"Cloud-Account-Id": INTEGRATION["tenantId"], "X-Scope-OrgID": "one"}
    assert entry["tls_config"] == {"server_name": "ingress"} and entry["queue_config"] == {"max_shards": 4}
    assert entry["proxy_url"] == "http://proxy.corp:3128"


def of_six_hours(documents):
    text = json.dumps(one(documents, "PrometheusRule"))
    assert "2 * (21600) + 1800" in text and "23400s" in text and 'job=\\"costs-eu\\"' in text


def agent(flag):
    def look(documents):
        assert agent_flag(documents) == flag
    return look


def images(documents):
    assert all(c["image"].endswith("@" + DIGEST) for pod in pods(documents) for c in pod["containers"])


def is_there(kind):
    def look(documents):
        assert kind in kinds(documents)
    return look


def appended(documents):
    data = one(documents, "ConfigMap", "-for-prometheus")["data"]
    assert set(data) == {"prometheus.yml", "append.jq"}, set(data)


BUNDLED = {"prometheus": {"bundled": {}}}
CASES = [
    ("worker", "the least", {}, of_bare_values),
    ("worker", "OpenShift, restricted", "values-openshift.yaml", of_openshift),
    ("worker", "private CA", {"caBundle": {"configMap": "corp-ca", "key": "bundle.pem"}}, of_private_ca),
    ("worker", "proxy", {"proxy": {"httpsProxy": "http://proxy.corp:3128", "noProxy": ["10.0.0.0/8"]}}, of_proxy),
    ("worker", "four shards", {"shards": 4, "alerts": {"enabled": True}}, of_shards),
    (
        "worker",
        "Argo CD",
        {
            "migrate": {"annotations": {"helm.sh/hook": None, "helm.sh/hook-delete-policy": None, "argocd.argoproj.io/hook": "Sync",
                                        "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation"}},
            "tests": {"enabled": False},
        },
        of_argo_cd,
    ),
    (
        "worker",
        "hourly, renamed, WINDOW=6h",
        {"schedule": "7 * * * *", "fullnameOverride": "eu",
         "alerts": {"enabled": True, "windowSeconds": 21600, "runbookUrl": "https://wiki.example.org/RUNBOOK.md"}},
        of_hourly,
    ),
    (
        "worker",
        "deployment, IPv6, operator",
        {"mode": "deployment", "listenAddress": "::",
         "metrics": {"service": {"ipFamilyPolicy": "PreferDualStack"}, "serviceMonitor": {"enabled": True}}},
        of_deployment,
    ),
    (
        "worker",
        "NetworkPolicy with destinations",
        {"networkPolicy": {"egressUdpPorts": [4789], "egressTo": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
                           "dns": {"to": [{"namespaceSelector": {}}]}, "extraEgress": [{"ports": [{"protocol": "TCP", "port": 5432}]}]}},
        of_network,
    ),
    (
        "worker",
        "everything a Pod may have",
        {"serviceAccount": {"create": False, "name": "mine"}, "extraEnv": [{"name": "A", "value": "b"}],
         "extraEnvFrom": [{"secretRef": {"name": "more"}}], "extraVolumes": [{"name": "rates", "configMap": {"name": "rates"}}],
         "extraVolumeMounts": [{"name": "rates", "mountPath": "/rates"}], "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["mongo"]}],
         "dnsConfig": {"nameservers": ["10.0.0.10"]}, "dnsPolicy": "None", "job": {"ttlSecondsAfterFinished": 3600},
         "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
         "commonLabels": {"team": "finops"}},
        of_everything,
    ),
    ("worker", "external secrets", {"extraObjects": [EXTERNAL_SECRET]}, is_there("ExternalSecret")),
    ("worker", "digest", {"image": {"digest": DIGEST}}, images),
    ("worker", "another kind of store", {"config": {"STORE": "sqlite:/tmp/x"}}, is_there("CronJob")),
    ("integration", "Kubecost 2.4 beside", {"costSource": {"release": "kubecost", "namespace": "kubecost"}}, of_kubecost("2.4")),
    ("integration", "Kubecost 2.8 beside", {"costSource": {"release": "kubecost", "namespace": "kubecost"}, "exporter": {"shareIdle": "even"}}, of_kubecost("2.8")),
    ("integration", "Kubecost's own Prometheus", {"prometheus": {"mode": "existing"}}, appended),
    ("integration", "OpenCost beside", {"costSource": {"kind": "opencost", "release": "opencost", "namespace": "opencost"}}, is_there("Deployment")),
    (
        "integration",
        "neither cost model nor Prometheus",
        {"opencost": {"enabled": True}, "prometheus": {"bundled": {"storage": {"size": "20Gi", "storageClass": "fast"}}}},
        of_no_prometheus,
    ),
    ("integration", "OpenShift, restricted", "values-openshift.yaml", of_openshift),
    ("integration", "private CA", {"caBundle": {"secret": "corp-ca"}}, of_integration_ca),
    (
        "integration",
        "remote_write with a token, headers, TLS and a proxy",
        {"remoteWrite": {"username": "", "authorization": {"type": "Bearer"}, "headers": {"X-Scope-OrgID": "one"},
                         "tlsConfig": {"server_name": "ingress"}, "queueConfig": {"max_shards": 4}, "proxyUrl": "http://proxy.corp:3128"}},
        of_remote_write,
    ),
    ("integration", "the operator", {"prometheus": {"mode": "serviceMonitor"}}, is_there("ServiceMonitor")),
    ("integration", "WINDOW=6h, renamed", {"exporter": {"window": "6h", "fullnameOverride": "costs-eu"}, "alerts": {"enabled": True}}, of_six_hours),
    ("integration", "Prometheus 3", {"prometheus": {"bundled": {"image": {"tag": "v3.5.0"}}}}, agent("--agent")),
    ("integration", "a tag that says no version", {"prometheus": {"bundled": {"majorVersion": 3, "image": {"tag": "latest"}}}}, agent("--agent")),
    ("integration", "digests", {"image": {"digest": DIGEST}, "prometheus": {"bundled": {"image": {"digest": DIGEST}}}}, images),
    (
        "integration",
        "IPv6, external secrets",
        {"listenAddress": "fd00::1", "extraObjects": [{**EXTERNAL_SECRET, "metadata": {"name": "{{ .Release.Name }}"}}]},
        is_there("ExternalSecret"),
    ),
]


def merge(base, over):
    out = dict(base)
    for key, value in over.items():
        out[key] = merge(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return out


def main(charts, schemas, options):
    bad = 0
    for chart, name, over, look in CASES:
        base = WORKER if chart == "worker" else INTEGRATION
        files = []
        if isinstance(over, str):
            files, over = ["--values", f"{charts}/kubecost-{chart}/{over}"], {}
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as values, tempfile.NamedTemporaryFile("w", suffix=".yaml") as out:
            yaml.safe_dump(merge(base, over), values)
            values.flush()
            done = subprocess.run(
                ["helm", "template", "test", f"{charts}/kubecost-{chart}", "--namespace", "costs", *options, *files, "--values", values.name],
                capture_output=True, text=True)
            problem = done.stderr if done.returncode else ""
            if not problem:
                out.write(done.stdout)
                out.flush()
                checked = subprocess.run(
                    ["kubeconform", "-strict", "-skip", "ExternalSecret", "-schema-location", schemas, out.name],
                    capture_output=True, text=True)
                problem = checked.stdout + checked.stderr if checked.returncode else ""
            if not problem:
                try:
                    look([d for d in yaml.safe_load_all(done.stdout) if d])
                except Exception as error:  # noqa: BLE001: any of them is a case that failed
                    problem = f"{type(error).__name__}: {error} ({error.__traceback__.tb_next and error.__traceback__.tb_next.tb_lineno})"
            if problem:
                bad += 1
                print(f"FAILED {chart}: {name}: {problem}")
    print(f"{len(CASES)} sets of values, {bad} wrong")
    return bad


sys.exit(1 if main(sys.argv[1], sys.argv[2], sys.argv[3:]) else 0)
