"""What must be so in rendered manifests: in all of them, and in those of one set of values."""

import json

import yaml

DIGEST = "sha256:" + "0123456789abcdef" * 4
ACCOUNT = "00000000-0000-4000-8000-000000000001"
RECOMMENDED = {f"app.kubernetes.io/{label}" for label in ("name", "instance", "version", "component", "part-of", "managed-by")}
OTHERS = ("CustomResourceDefinition", "ExternalSecret")


def one(documents, kind, suffix=""):
    found = [d for d in documents if d["kind"] == kind and d["metadata"]["name"].endswith(suffix)]
    assert len(found) == 1, f"{len(found)} times {kind} {suffix}"
    return found[0]


def templates(documents, least=1):
    """The Pod templates of all workloads, and Pods themselves."""
    found = []
    for d in documents:
        if d["kind"] == "CronJob":
            found.append(d["spec"]["jobTemplate"]["spec"]["template"])
        elif d["kind"] in ("Job", "Deployment"):
            found.append(d["spec"]["template"])
        elif d["kind"] == "Pod":
            found.append(d)
    assert len(found) >= least, f"{len(found)} workloads"
    return found


def pods(documents):
    return [template["spec"] for template in templates(documents)]


def pod_of(documents, kind, suffix=""):
    return templates([one(documents, kind, suffix)])[0]["spec"]


def env(pod):
    return {e["name"]: e.get("value") for e in pod["containers"][0].get("env", [])}


def arguments(documents):
    return pod_of(documents, "Deployment", "-prometheus")["containers"][0]["args"]


def kinds(documents):
    return {d["kind"] for d in documents}


def prometheus(documents):
    return yaml.safe_load(one(documents, "ConfigMap", "-prometheus")["data"]["prometheus.yml"])


def ports(policy):
    return {(p["protocol"], p["port"]) for rule in policy["spec"]["egress"] for p in rule.get("ports", [])}


def policies(documents):
    return [d for d in documents if d["kind"] == "NetworkPolicy"]


def of_all(documents):
    """Holds for every set of values: labels, the restricted Pod security, limits, and a NetworkPolicy for each Pod."""
    for d in documents:
        if d["kind"] in OTHERS:
            continue
        labels = set(d["metadata"]["labels"])
        wanted = RECOMMENDED | (set() if d["kind"] == "Pod" else {"helm.sh/chart"})
        assert wanted <= labels, f"{d['kind']} {d['metadata']['name']} lacks {wanted - labels}"
        assert d["metadata"].get("namespace") or d["kind"].startswith("Cluster"), d["metadata"]
    # Where Kubecost's own Prometheus evaluates the rules, the release has nothing that runs.
    for template in templates(documents, 0):
        labels, pod = template["metadata"]["labels"], template["spec"]
        assert RECOMMENDED <= set(labels), f"a Pod lacks {RECOMMENDED - set(labels)}"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not [v for v in pod["volumes"] if "hostPath" in v]
        # Only what asks the API server has a token for it.
        asks = labels["app.kubernetes.io/component"] == "opencost" or "ClusterRole" in kinds(documents)
        assert pod["automountServiceAccountToken"] is False or asks
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False and context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"requests", "limits"} <= set(container["resources"])
            names = [e["name"] for e in container.get("env", [])]
            assert len(names) == len(set(names)), f"twice in the environment: {names}"
        for d in policies(documents):
            assert {"Ingress", "Egress"} == set(d["spec"]["policyTypes"])
        selected = [p for p in policies(documents) if p["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]
        assert len(selected) == 1, f"{len(selected)} NetworkPolicies for {labels}"


def of_the_least(documents):
    assert kinds(documents) == {"ConfigMap", "ServiceAccount", "CronJob", "Job", "NetworkPolicy", "Pod"}, kinds(documents)
    # Helm waits 300 s for its hooks.
    assert one(documents, "Job", "-migrate")["spec"]["activeDeadlineSeconds"] < 300
    rules = one(documents, "CronJob")["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert [(r["action"], r.get("onExitCodes", {}).get("values")) for r in rules] == [("Ignore", None), ("FailJob", [2]), ("FailJob", [1])]


def of_openshift(documents):
    for pod in pods(documents):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(pod["securityContext"]), pod["securityContext"]
    assert policies(documents) and all(("UDP", 5353) in ports(d) and ("UDP", 53) in ports(d) for d in policies(documents))


def of_private_ca(documents):
    for pod in pods(documents):
        assert env(pod)["CA_FILE"] == "/etc/kubecost-worker/ca/ca.crt"
        volume = next(v for v in pod["volumes"] if v["name"] == "ca")
        assert volume["configMap"] == {"name": "corp-ca", "items": [{"key": "bundle.pem", "path": "ca.crt"}]}
        assert any(m["name"] == "ca" for m in pod["containers"][0]["volumeMounts"])


def of_client_certificate(documents):
    for pod in pods(documents):
        assert env(pod)["CLIENT_CERT_FILE"] == "/etc/kubecost-worker/client/tls.crt"
        assert env(pod)["CLIENT_KEY_FILE"] == "/etc/kubecost-worker/client/tls.key"
        has_client_certificate(pod, "/etc/kubecost-worker/client")


def of_exporter_client_certificate(documents):
    exporter = pod_of(documents, "Deployment", "exporter")
    assert env(exporter)["CLIENT_CERT_FILE"] == "/etc/kubecost-integration/client/tls.crt"
    assert env(exporter)["CLIENT_KEY_FILE"] == "/etc/kubecost-integration/client/tls.key"
    has_client_certificate(exporter, "/etc/kubecost-integration/client")


def has_client_certificate(pod, path):
    volume = next(v for v in pod["volumes"] if v["name"] == "client-certificate")
    assert volume["secret"] == {"secretName": "own-tls"}
    mounts = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "client-certificate"]
    assert mounts == [{"name": "client-certificate", "mountPath": path, "readOnly": True}], mounts


def of_integration_ca(documents):
    exporter = pod_of(documents, "Deployment", "exporter")
    assert env(exporter)["KUBECOST_CA_FILE"] == "/etc/kubecost-integration/ca/ca.crt"
    # A ca_file in remote_write would stand in the place of the public authorities.
    assert "tls_config" not in prometheus(documents)["remote_write"][0]
    for suffix in ("-prometheus", "-opencost"):
        own = env(pod_of(documents, "Deployment", suffix))
        assert own["SSL_CERT_FILE"] == "/etc/kubecost-integration/ca/ca.crt" and own["SSL_CERT_DIR"] == "/etc/ssl/certs"
    for pod in pods(documents):
        assert next(v for v in pod["volumes"] if v["name"] == "ca")["secret"]["secretName"] == "corp-ca"
        assert [m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if m["name"] == "ca"] == ["/etc/kubecost-integration/ca"]


def of_proxy(documents):
    for pod in pods(documents):
        assert env(pod)["HTTPS_PROXY"] == "http://proxy.corp:3128"
        assert env(pod)["NO_PROXY"].split(",")[-3:] == [".svc", ".cluster.local", "10.0.0.0/8"]
    assert all(("TCP", 3128) in ports(d) for d in policies(documents))


def of_integration_proxy(documents):
    of_proxy(documents)
    # OpenCost and Prometheus ask the API server by its address.
    assert all("$(KUBERNETES_SERVICE_HOST)" in env(pod)["NO_PROXY"].split(",") for pod in pods(documents))
    entry = prometheus(documents)["remote_write"][0]
    assert entry["proxy_from_environment"] is True and "proxy_url" not in entry
    jobs = {job["job_name"]: job for job in prometheus(documents)["scrape_configs"]}
    assert jobs["opencost"]["proxy_from_environment"] and "proxy_from_environment" not in jobs["kubernetes-cadvisor"]


def of_shards(documents):
    job = one(documents, "CronJob")["spec"]["jobTemplate"]["spec"]
    assert job["completions"] == 4 and job["podFailurePolicy"]["rules"][2]["action"] == "FailIndex"
    text = json.dumps(one(documents, "PrometheusRule"))
    assert 'shard=~\\"0|1|2|3\\"' in text and "< (4)" in text and 'shard=~\\".*\\"' not in text
    of_failing("warning", "The accounts of some shard")(documents)


def of_failing(severity, who):
    """How loud the alert on a failed Job is, and for whom it speaks."""
    def look(documents):
        rules = [rule for group in one(documents, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
        failing = next(rule for rule in rules if rule["alert"] == "KubecostWorkerFailing")
        assert failing["labels"]["severity"] == severity, failing
        assert failing["annotations"]["summary"].startswith(f"{who} of {{{{ $labels.namespace }}}}, hop worker"), failing
    return look


def of_argo_cd(documents):
    job = one(documents, "Job", "-migrate")
    assert job["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "Sync"
    assert "helm.sh/hook" not in job["metadata"]["annotations"]
    wave = {d["kind"]: int(d["metadata"].get("annotations", {}).get("argocd.argoproj.io/sync-wave", 0)) for d in documents}
    # Settings, then the schema, then runs.
    assert {kind: wave.pop(kind) for kind in ("Job", "CronJob")} == {"Job": 1, "CronJob": 2} and set(wave.values()) == {0}
    assert "Pod" not in kinds(documents)


def of_no_hooks(documents):
    assert "helm.sh/hook" not in json.dumps(documents)


def of_hourly(documents):
    text = json.dumps(one(documents, "PrometheusRule"))
    assert "offset 8400s" in text and "2 * (3600) + 1200" in text and "(300)" not in text and "for\": \"10800s" in text and "(21600)" in text
    assert 'cronjob=\\"eu\\"' in text and "eu-[0-9]+" in text and 'namespace=\\"costs\\"' in text
    assert "https://wiki.example.org/RUNBOOK.md#k8sexpensesstale" in text


def of_operator_rules(documents):
    assert one(documents, "PrometheusRule")["metadata"]["labels"]["release"] == "prometheus"
    boards = [d for d in documents if d["kind"] == "ConfigMap" and "-dashboard-" in d["metadata"]["name"]]
    assert boards and all(d["metadata"]["labels"]["grafana_dashboard"] == "1" for d in boards)


def of_deployment(documents):
    pod = pod_of(documents, "Deployment")
    assert env(pod)["METRICS_ADDR"] == "[::]:19090" and pod["terminationGracePeriodSeconds"] == 150
    assert one(documents, "Service")["spec"]["ipFamilyPolicy"] == "PreferDualStack"
    assert one(documents, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    found_by(documents)


def found_by(documents):
    """The ServiceMonitor finds the Service, and that its Pods."""
    service, monitor = one(documents, "Service"), one(documents, "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in [p["name"] for p in service["spec"]["ports"]]
    assert monitor["spec"]["endpoints"][0]["honorLabels"] is True
    labels = [t["metadata"]["labels"] for t in templates(documents)]
    assert [selected for selected in labels if service["spec"]["selector"].items() <= selected.items()]


def of_token(documents):
    endpoint = one(documents, "ServiceMonitor")["spec"]["endpoints"][0]
    assert endpoint["authorization"] == {"type": "Bearer", "credentials": {"name": "kubecost-worker-secrets", "key": "token"}}
    assert "scheme" not in endpoint and "basicAuth" not in endpoint


def of_password_and_tls(documents):
    endpoint = one(documents, "ServiceMonitor")["spec"]["endpoints"][0]
    assert {key: value["key"] for key, value in endpoint["basicAuth"].items()} == {"username": "user", "password": "password"}
    assert endpoint["scheme"] == "https" and endpoint["tlsConfig"]["serverName"] == "costs"
    assert probes(pod_of(documents, "Deployment")) == ["HTTPS", "HTTPS"]


def probes(pod):
    return [pod["containers"][0][probe]["httpGet"].get("scheme") for probe in ("livenessProbe", "readinessProbe")]


def of_addresses(documents):
    """A policy opens the port of each address, and a Job gets the time that its run may take."""
    policy = one(documents, "NetworkPolicy")
    opened = [port["port"] for port in policy["spec"]["egress"][1]["ports"]]
    assert {8481, 8999, 8969, 8123, 9095} <= set(opened) and len(opened) == len(set(opened)), opened
    assert one(documents, "CronJob")["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 7200 + 300 + 180


def of_suspended(documents):
    assert one(documents, "Deployment")["spec"]["replicas"] == 0 and "CronJob" not in kinds(documents)


def of_pushgateway(documents):
    pod = pod_of(documents, "CronJob")
    assert env(pod)["METRICS_PUSHGATEWAY_URL"] == "http://pushgateway.monitoring.svc:9091"
    assert ("TCP", 9091) in ports(one(documents, "NetworkPolicy"))
    # Only a run has metrics to push.
    assert "METRICS_PUSHGATEWAY_URL" not in env(pod_of(documents, "Job", "-migrate"))


def of_network(documents):
    policy = one(documents, "NetworkPolicy")
    assert ("UDP", 4789) in ports(policy) and policy["spec"]["egress"][1]["to"][0]["ipBlock"]["cidr"] == "10.1.0.0/16"
    assert policy["spec"]["egress"][0]["to"] and policy["spec"]["egress"][-1]["ports"][0]["port"] == 5432


def of_integration_network(documents):
    for d in policies(documents):
        rules = d["spec"]["egress"]
        assert [rule for rule in rules if rule.get("to") == [{"ipBlock": {"cidr": "10.1.0.0/16"}}]]
        assert {("UDP", 4789), ("TCP", 5432), ("UDP", 5353)} <= ports(d)
    exporter = one(documents, "NetworkPolicy", "exporter")
    assert exporter["spec"]["ingress"][0]["from"] == [{"namespaceSelector": {}}]


def of_everything(documents):
    for pod in pods(documents):
        assert pod["hostAliases"] and pod["dnsConfig"] and pod["topologySpreadConstraints"] and pod["dnsPolicy"] == "None"
        container = pod["containers"][0]
        assert {"secretRef": {"name": "more"}} in container["envFrom"] and env(pod)["A"] == "b"
        assert any(v["name"] == "rates" for v in pod["volumes"]) and pod["serviceAccountName"] == "mine"
    assert "ServiceAccount" not in kinds(documents)
    assert one(documents, "CronJob")["spec"]["jobTemplate"]["spec"]["ttlSecondsAfterFinished"] == 0
    assert all(d["metadata"]["labels"]["team"] == "finops" for d in documents)
    assert all(t["metadata"]["labels"]["team"] == "finops" for t in templates(documents))


def of_everything_there(documents):
    for template in templates(documents):
        pod = template["spec"]
        assert pod["hostAliases"] and pod["dnsConfig"] and pod["topologySpreadConstraints"] and pod["dnsPolicy"] == "None"
        assert pod["terminationGracePeriodSeconds"] == 45 and pod["imagePullSecrets"] == [{"name": "registry"}]
        container = pod["containers"][0]
        assert {"secretRef": {"name": "more"}} in container["envFrom"] and env(pod)["A"] == "b"
        assert [m for m in container["volumeMounts"] if m["name"] == "rates"] and [v for v in pod["volumes"] if v["name"] == "rates"]
        assert template["metadata"]["labels"]["team"] == "finops" and template["metadata"]["annotations"]["note"] == "x"
    assert all(d["metadata"]["labels"]["team"] == "finops" for d in documents)
    accounts = {one(documents, "Deployment", s)["spec"]["template"]["spec"]["serviceAccountName"] for s in ("exporter", "-prometheus")}
    assert accounts == {"mine"}


def of_external_secret(documents):
    wanted = one(documents, "ExternalSecret")["metadata"]["name"]
    assert "{{" not in wanted and wanted == "kubecost-worker-secrets"
    for pod in pods(documents):
        keys = [e["valueFrom"]["secretKeyRef"] for e in pod["containers"][0]["env"] if "valueFrom" in e]
        assert keys and all(key["name"] == wanted for key in keys), keys
    assert "Secret" not in kinds(documents)


def of_integration_external_secret(documents):
    wanted = one(documents, "ExternalSecret")["metadata"]["name"]
    volume = next(v for v in pod_of(documents, "Deployment", "-prometheus")["volumes"] if v["name"] == "remote-write")
    assert volume["secret"]["secretName"] == wanted == "cloudtuner-basic-auth" and "Secret" not in kinds(documents)
    assert env(pod_of(documents, "Deployment", "exporter"))["LISTEN_ADDR"] == "[fd00::1]:19090"
    assert "--web.listen-address=[fd00::1]:9090" in arguments(documents)


def of_trial(documents):
    assert set(one(documents, "Secret")["stringData"]) == {"MONGO_URL"}
    key = next(e for e in pod_of(documents, "CronJob")["containers"][0]["env"] if e["name"] == "MONGO_URL")
    assert key["valueFrom"]["secretKeyRef"]["name"] == one(documents, "Secret")["metadata"]["name"]
    assert "mongodb://" not in json.dumps([d for d in documents if d["kind"] != "Secret"])


def of_another_store(documents):
    assert one(documents, "ConfigMap")["data"]["STORE"] == "sqlite:/data/costs.db"
    pod = pod_of(documents, "CronJob")
    claim = next(v for v in pod["volumes"] if v["name"] == "data")["persistentVolumeClaim"]["claimName"]
    assert claim == "costs" and [m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if m["name"] == "data"] == ["/data"]


def beside_kubecost(share_idle):
    def look(documents):
        own = env(pod_of(documents, "Deployment", "exporter"))
        # tests/charts/kubecost-chart holds name and port against the real charts.
        assert own["KUBECOST_URL"] == "http://kubecost-cost-analyzer.kubecost.svc.cluster.local:9090", own["KUBECOST_URL"]
        assert own["SHARE_IDLE"] == share_idle and ("TCP", 9090) in ports(one(documents, "NetworkPolicy", "exporter"))
        assert "--enable-feature=agent" in arguments(documents)
        assert not {"ClusterRole", "ClusterRoleBinding"} & kinds(documents)
        same = prometheus(documents)["remote_write"][0]["headers"]["Cloud-Account-Id"]
        assert same == own["TENANT_ID"] == ACCOUNT
    return look


def beside_opencost(documents):
    own = env(pod_of(documents, "Deployment", "exporter"))
    assert own["KUBECOST_URL"] == "http://opencost.opencost.svc.cluster.local:9003", own["KUBECOST_URL"]
    assert ("TCP", 9003) in ports(one(documents, "NetworkPolicy", "exporter")) and "ClusterRole" not in kinds(documents)


def of_existing(key):
    def look(documents):
        data = one(documents, "ConfigMap", "-for-prometheus")["data"]
        assert set(data) == {"prometheus.yml", "append.jq"} | ({"rules.yml"} if key == "rule_files" else set()), set(data)
        added = yaml.safe_load(data["prometheus.yml"])
        assert added["remote_write"][0]["headers"] == {"Cloud-Account-Id": ACCOUNT}
        assert (key == "rule_files") == ("scrape_configs" not in added)
        # A value by which Kubecost's own jobs would be replaced.
        assert "extraScrapeConfigs" not in json.dumps(documents)
        assert "Deployment" in kinds(documents) or key == "rule_files"
    return look


def of_rules(documents):
    args = arguments(documents)
    assert not [a for a in args if "agent" in a] and "--storage.tsdb.retention.time=3d" in args
    rules = yaml.safe_load(one(documents, "ConfigMap", "-prometheus")["data"]["rules.yml"])
    assert "cloudtuner_kubecost_cluster_total_cost" in [r.get("record") for g in rules["groups"] for r in g["rules"]]
    assert [d["metadata"]["name"] for d in documents if d["kind"] == "Deployment"] == ["kubecost-allocation-exporter-prometheus"]


def of_no_prometheus(documents):
    one(documents, "Deployment", "-opencost")
    role = one(documents, "ClusterRole", "-opencost")
    assert not [r for rule in role["rules"] for r in rule["resources"] if r in ("secrets", "configmaps", "*")]
    assert all(set(rule["verbs"]) <= {"get", "list", "watch"} for rule in role["rules"])
    assert ("TCP", 443) in ports(one(documents, "NetworkPolicy", "-opencost"))
    ingress = one(documents, "NetworkPolicy", "-opencost")["spec"]["ingress"]
    assert ingress == [{"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": 9003}]}]
    assert one(documents, "PersistentVolumeClaim")["spec"]["resources"]["requests"]["storage"] == "20Gi"


def of_identity(documents):
    accounts = {d["metadata"]["name"]: d["metadata"].get("annotations") for d in documents if d["kind"] == "ServiceAccount"}
    # OpenCost's is the one that reads prices at the cloud.
    assert "test-opencost" in accounts and all(a == {"iam.example.org/role": "costs"} for a in accounts.values()), accounts


def of_remote_write(documents):
    entry = prometheus(documents)["remote_write"][0]
    assert entry["authorization"] == {"type": "Bearer", "credentials_file": "/etc/remote-write/password"} and "basic_auth" not in entry
    assert entry["headers"] == {"Cloud-Account-Id": ACCOUNT, "X-Scope-OrgID": "one"}
    assert entry["tls_config"] == {"server_name": "ingress"} and entry["queue_config"] == {"max_shards": 4}
    assert entry["proxy_url"] == "http://proxy.corp:3128"
    assert ("TCP", 3128) in ports(one(documents, "NetworkPolicy", "-prometheus"))


def of_named_account(documents):
    assert one(documents, "ServiceAccount")["metadata"]["name"] == "mine"
    assert {pod["serviceAccountName"] for pod in pods(documents)} == {"mine"}


def of_metrics_from(documents):
    for part in ("-opencost", "exporter"):
        peers = one(documents, "NetworkPolicy", part)["spec"]["ingress"][0]["from"]
        assert {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}} in peers, (part, peers)


def of_exporter_tls(documents):
    endpoint = one(documents, "ServiceMonitor")["spec"]["endpoints"][0]
    assert endpoint["scheme"] == "https" and endpoint["authorization"]["credentials"]["key"] == "token"
    assert probes(pod_of(documents, "Deployment")) == ["HTTPS", "HTTPS"]


def of_monitor(documents):
    assert probes(pod_of(documents, "Deployment")) == [None, None]
    found_by(documents)
    assert [d["metadata"]["name"] for d in documents if d["kind"] == "Deployment"] == ["kubecost-allocation-exporter"]


def of_six_hours(documents):
    text = json.dumps(one(documents, "PrometheusRule"))
    assert "2 * (21600) + 1800" in text and "23400s" in text and 'job=\\"costs-eu\\"' in text
    assert env(pod_of(documents, "Deployment", "costs-eu"))["WINDOW"] == "6h"


def agent(flag):
    def look(documents):
        assert [a for a in arguments(documents) if a.endswith("agent")] == [flag]
    return look


def by_digest(documents):
    assert all(c["image"].endswith("@" + DIGEST) for pod in pods(documents) for c in pod["containers"])


def digests_by_default(documents):
    others = [c["image"] for pod in pods(documents) for c in pod["containers"] if not c["image"].startswith("kubecost-worker")]
    assert len(others) == 2 and all("@sha256:" in image and len(image.split(":")[-1]) == 64 for image in others), others


def another_tag(documents):
    image = pod_of(documents, "Deployment", "-prometheus")["containers"][0]["image"]
    assert image == "prom/prometheus:v3.5.0", image
    agent("--agent")(documents)


def another_registry(documents):
    image = pod_of(documents, "Deployment", "-prometheus")["containers"][0]["image"]
    assert image == "registry.corp/prom/prometheus:v2.53.0", image
