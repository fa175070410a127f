"""The whole chain on real parts: see docs/CHAIN.md. Called by `run`, which finds or builds the programs.

Two customers and three clusters: two with windows of two minutes, one with the exporter of the past. Every part is stopped for a while and
started again; then each dollar that the query layer shows must be stored once, and each hole is named with the part that was down.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import checks
from clusters import A, B, CLUSTERS, EARLIER, WINDOW_SECONDS, WITH_PODS
from stores import Cluster, Container, free_port, get

HERE = os.path.dirname(os.path.abspath(__file__))
MINUTES = int(os.environ.get("CHAIN_MINUTES", "3"))
DOWN_SECONDS = int(os.environ.get("CHAIN_DOWN_SECONDS", "20"))
SCHEDULE_SECONDS = int(os.environ.get("CHAIN_SCHEDULE_SECONDS", "30"))
FAULTS = "exporter-a1 api-b1 prometheus-b ingress receive-1 query query-frontend clickhouse-2 mongodb worker"
# A window is billed once its minutes are over at the query layer, which a run decides by the minutes that it has seen.
SETTLED_SECONDS = 160 + WINDOW_SECONDS


def env(name):
    return os.environ[name]


def until(what, seconds, probe):
    deadline = time.time() + seconds
    while time.time() < deadline:
        try:
            found = probe()
            if found:
                return found
        except OSError:
            pass
        time.sleep(0.25)
    raise SystemExit(f"gave up after {seconds} s: {what}")


class Part:
    """A program that can be stopped and started again."""

    def __init__(self, folder, name, command, environment=None):
        self.folder, self.name, self.command = folder, name, [str(word) for word in command]
        self.environment = {"PATH": os.environ["PATH"], **(environment or {})}
        self.start()

    def start(self):
        self.log = open(f"{self.folder}/{self.name}.log", "ab")
        self.process = subprocess.Popen(self.command, env=self.environment, stdout=self.log, stderr=self.log)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Chain:
    def __init__(self, folder):
        self.folder, self.program, self.parts, self.seen, self.runs, self.faults = folder, env("WORKER"), {}, {}, [], []
        self.cluster = Cluster(env("CLICKHOUSE_CLUSTER_IMAGE"))
        self.mongodb = Container("mongodb", env("MONGODB_IMAGE"), 27017)
        self.parts["mongodb"] = self.mongodb
        self.parts.update({f"clickhouse-{number}": self.cluster.server(number) for number in self.cluster.NUMBERS})
        self.started = time.time()
        self.thanos()
        self.customers()

    def part(self, name, command, environment=None):
        self.parts[name] = Part(self.folder, name, command, environment)

    def thanos(self):
        thanos, replicas = env("THANOS"), [0, 1]
        grpc, http, write = ([free_port() for _ in replicas] for _ in range(3))
        hashring = f"{self.folder}/hashring.json"
        with open(hashring, "w") as file:
            json.dump([{"endpoints": [f"127.0.0.1:{port}" for port in grpc]}], file)
        for n in replicas:
            os.makedirs(f"{self.folder}/receive-{n}/default-tenant")
            self.part(f"receive-{n}", [
                thanos, "receive", f"--tsdb.path={self.folder}/receive-{n}", f"--grpc-address=127.0.0.1:{grpc[n]}", f"--http-address=127.0.0.1:{http[n]}",
                f"--remote-write.address=127.0.0.1:{write[n]}", f'--label=receive_replica="{n}"', "--receive.replication-factor=2",
                f"--receive.hashrings-file={hashring}", f"--receive.local-endpoint=127.0.0.1:{grpc[n]}", "--receive.tenant-label-name=tenant_id",
                "--receive.tenant-header=THANOS-TENANT", "--log.level=warn"])
        query, frontend = free_port(), free_port()
        self.part("query", [
            thanos, "query", f"--http-address=127.0.0.1:{query}", f"--grpc-address=127.0.0.1:{free_port()}", "--query.replica-label=receive_replica",
            *(f"--endpoint-strict=127.0.0.1:{port}" for port in grpc), "--log.level=warn"])
        self.part("query-frontend", [
            thanos, "query-frontend", f"--http-address=127.0.0.1:{frontend}", f"--query-frontend.downstream-url=http://127.0.0.1:{query}", "--no-query-range.align-range-with-step", "--log.level=warn"])
        self.query_url, self.write_url = f"http://127.0.0.1:{frontend}", f"http://127.0.0.1:{write[0]}/api/v1/receive"

    def customers(self):
        ingress = free_port()
        parts = [sys.executable, f"{HERE}/parts.py"]
        self.ingress_url = f"http://127.0.0.1:{ingress}/"
        self.part("ingress", [*parts, "ingress", ingress, self.write_url, f"{A}=eu-1:hush-a,{B}=us-1:hush-b"])
        self.exporters = {}
        for cluster, account, product in CLUSTERS:
            api, exporter = free_port(), free_port()
            self.exporters[cluster] = f"http://127.0.0.1:{exporter}/metrics"
            if product == EARLIER:
                self.part(f"exporter-{cluster}", [*parts, "earlier", exporter, account, cluster])
                continue
            self.part(f"api-{cluster}", [*parts, "simulate", api, cluster, product])
            self.part(f"exporter-{cluster}", [env("EXPORTER")], {
                "KUBECOST_URL": f"http://127.0.0.1:{api}", "TENANT_ID": account, "CLUSTER_NAME": cluster, "WINDOW": f"{WINDOW_SECONDS // 60}m", "SCRAPE_INTERVAL": "2",
                "LISTEN_ADDR": f"127.0.0.1:{exporter}", "STALE_AFTER": "300", "POD_METRICS": str(cluster in WITH_PODS).lower()})
        for account, user, password in [(A, "eu-1", "hush-a"), (B, "us-1", "hush-b")]:
            targets = [self.exporters[cluster].split("/")[2] for cluster, owner, _ in CLUSTERS if owner == account]
            name = f"prometheus-{account[0]}"
            with open(f"{self.folder}/{name}.yml", "w") as file:
                json.dump({
                    "global": {"scrape_interval": "5s"},
                    "scrape_configs": [{"job_name": "exporter", "static_configs": [{"targets": targets}]}],
                    "remote_write": [{"url": f"http://127.0.0.1:{ingress}/storage/api/v2/write", "headers": {"Cloud-Account-Id": account},
                                      "basic_auth": {"username": user, "password": password},
                                      "queue_config": {"batch_send_deadline": "1s", "min_backoff": "250ms", "max_backoff": "2s"}}],
                }, file)
            self.part(name, [env("PROMETHEUS"), f"--config.file={self.folder}/{name}.yml", "--agent", f"--storage.agent.path={self.folder}/{name}",
                             f"--web.listen-address=127.0.0.1:{free_port()}", "--log.level=warn"])
        service = free_port()
        self.part("service", [*parts, "service", service, *self.cluster.urls])
        self.clickhouse_url = f"http://127.0.0.1:{service}"
        self.settings = {
            "PROMETHEUS_URL": self.query_url, "ACCOUNTS": f"{A},{B}", "CLICKHOUSE_URL": self.clickhouse_url, "CLUSTER_SECRET": "hush",
            "MONGO_URL": f"mongodb://127.0.0.1:{self.mongodb.port}/", "LOG_FORMAT": "json", "LEASE_SECONDS": "90",
            "LEVELS": "cluster,namespace,pod", "TODAY_REFRESH": "0",
            "METRICS_TEXTFILE": f"{self.folder}/worker.prom"}
        self.operator([*parts, "page"])

    def operator(self, page):
        """The Prometheus of who runs the worker: its metrics, and those of the exporters."""
        of_worker, port = free_port(), free_port()
        self.part("page", [*page, of_worker, self.settings["METRICS_TEXTFILE"]])
        jobs = {"worker": [f"127.0.0.1:{of_worker}"], "exporters": [url.split("/")[2] for url in self.exporters.values()]}
        with open(f"{self.folder}/operator.yml", "w") as file:
            configs = [{"job_name": name, "static_configs": [{"targets": targets}]} for name, targets in jobs.items()]
            json.dump({"global": {"scrape_interval": "5s"}, "scrape_configs": configs}, file)
        self.part("operator", [env("PROMETHEUS"), f"--config.file={self.folder}/operator.yml", f"--storage.tsdb.path={self.folder}/operator",
                               f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"])
        self.operator_url = f"http://127.0.0.1:{port}"

    def worker(self, *arguments):
        return subprocess.run([env("WORKER"), *arguments], env=self.settings, capture_output=True, text=True)

    def run(self):
        started = time.time()
        done = self.worker("run")
        ended = time.time()
        self.runs.append((started, ended, done.returncode))
        with open(f"{self.folder}/worker.log", "a") as log:
            log.write(done.stderr + done.stdout)
        return done

    def ask(self, query):
        reply = json.loads(get(f"{self.query_url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", 20))
        return reply["data"]["result"]

    def look(self):
        """Notes when each window is first shown by its exporter, and by the query layer."""
        now = time.time()
        for cluster, url in self.exporters.items():
            try:
                lines = [line for line in get(url, 2).splitlines() if line.startswith("cloudtuner_kubecost_window_end_timestamp_seconds{")]
            except OSError:
                continue
            for line in lines:
                self.seen.setdefault((cluster, int(float(line.split()[-1]))), {}).setdefault("exporter", now)
        try:
            for series in self.ask("cloudtuner_kubecost_window_end_timestamp_seconds"):
                key = series["metric"]["cluster"], int(float(series["value"][1]))
                self.seen.setdefault(key, {}).setdefault("query", time.time())
        except OSError:
            pass

    def empties(self):
        """How many polls of each exporter met a window that its API had not computed yet."""
        start = 'cloudtuner_kubecost_exporter_scrape_errors_total{'
        found = {}
        for cluster, _, product in CLUSTERS:
            if product != EARLIER:
                lines = [line for line in get(self.exporters[cluster]).splitlines() if line.startswith(start) and 'reason="empty"' in line]
                found[cluster] = sum(float(line.split()[-1]) for line in lines)
        return found

    def kill_in_a_run(self):
        """A run that is killed once it has sent rows."""
        before = get(f"{self.clickhouse_url}/inserts")
        with open(f"{self.folder}/worker.log", "a") as log:
            process = subprocess.Popen([env("WORKER"), "run"], env=self.settings, stdout=log, stderr=log)
        while process.poll() is None:
            if get(f"{self.clickhouse_url}/inserts") != before:
                process.kill()
                break
            time.sleep(0.005)
        return process.wait() == -signal.SIGKILL

    def watch(self, seconds, schedule=SCHEDULE_SECONDS):
        deadline = time.time() + seconds
        while time.time() < deadline:
            self.look()
            if not self.runs or time.time() - self.runs[-1][0] >= schedule:
                self.run()
            time.sleep(0.5)

    def shake(self, name):
        began = time.time()
        if name == "worker":
            until("a run is killed after it sent rows", 180, self.kill_in_a_run)
        else:
            self.parts[name].stop()
            self.watch(DOWN_SECONDS)
            self.parts[name].start()
        self.faults.append((name, began, time.time()))
        self.watch(DOWN_SECONDS)

    def windows(self, cluster, since):
        """The windows of a cluster that the query layer holds a sample of."""
        query = f'cloudtuner_kubecost_window_end_timestamp_seconds{{cluster="{cluster}"}}'
        parameters = {"query": query, "start": since, "end": int(time.time()), "step": 1}
        reply = json.loads(get(f"{self.query_url}/api/v1/query_range?{urllib.parse.urlencode(parameters)}", 30))
        return {int(float(value)) for series in reply["data"]["result"] for _, value in series["values"]}

    def minutes(self, query, since):
        """The values of a question at each full minute since then."""
        parameters = {"query": query, "start": since - since % 60, "end": int(time.time()), "step": 60}
        reply = json.loads(get(f"{self.query_url}/api/v1/query_range?{urllib.parse.urlencode(parameters)}", 30))
        return [float(value) for series in reply["data"]["result"] for _, value in series["values"]]

    def close(self):
        for part in self.parts.values():
            if isinstance(part, Part) and part.process.poll() is None:
                part.process.kill()
                part.process.wait()
        self.mongodb.remove()
        self.cluster.remove()


def main():
    with tempfile.TemporaryDirectory() as folder:
        chain = Chain(folder)
        try:
            until("every ClickHouse answers", 90, lambda: all(get(url + "/ping") for url in chain.cluster.urls))
            chain.cluster.make_tables()
            until("the schema is there", 60, lambda: chain.worker("migrate").returncode == 0)
            until("the query layer has every cluster", 240, lambda: len(chain.ask("cloudtuner_kubecost_cluster_total_cost")) >= len(CLUSTERS))
            began = time.time()
            chain.watch(MINUTES * 60)
            for name in os.environ.get("CHAIN_FAULTS", FAULTS).split():
                print(f"{name} is struck", flush=True)
                chain.shake(name)
            # Prometheus sends what it kept, and the lease of the run that was killed ends; then no new window comes.
            chain.watch(120)
            verified = chain.worker("verify")
            met = chain.empties(), int(get(chain.ingress_url))
            for cluster, _, _ in CLUSTERS:
                chain.parts[f"exporter-{cluster}"].stop()
            ended = time.time()
            chain.watch(SETTLED_SECONDS)
            last = [chain.run() for _ in range(2)][-1]
            if os.environ.get("CHAIN_PICTURE"):
                dashboard = f"{HERE}/../../charts/kubecost-worker/files/dashboards/pipeline.json"
                times = [str(chain.started), str(time.time()), os.environ["CHAIN_PICTURE"]]
                subprocess.check_call([sys.executable, f"{HERE}/picture.py", dashboard, chain.operator_url, *times])
            failed = checks.report(chain, (began, ended), (verified, last), met)
            print("failed" if failed else "passed")
            return int(failed > 0)
        finally:
            if os.environ.get("CHAIN_LOGS"):
                subprocess.call(f"cp '{folder}'/*.log '{os.environ['CHAIN_LOGS']}'/", shell=True)
            chain.close()


if __name__ == "__main__":
    sys.exit(main())
