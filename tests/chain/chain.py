"""The whole chain on real parts: see docs/CHAIN.md. Called by `run`, which finds or builds the programs.

Two customers and three clusters, windows of a minute. Every part is stopped for a while and started again; then each window that reached
the query layer must be stored once, to the last cent, and each that did not is named with the part that was down.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

from parts import parts_of

HERE = os.path.dirname(os.path.abspath(__file__))
A, B = "aaaaaaaa-0000-4000-8000-00000000000a", "bbbbbbbb-0000-4000-8000-00000000000b"
# Cluster, its account, and what its allocation API is.
CLUSTERS = [("a1", A, "opencost"), ("b1", B, "kubecost"), ("b2", B, "opencost")]
MINUTES = int(os.environ.get("CHAIN_MINUTES", "3"))
DOWN_SECONDS = int(os.environ.get("CHAIN_DOWN_SECONDS", "20"))
TOLERANCE_USD = 1e-6
# A window that ended so shortly before the last run may not be billed yet.
YOUNG_SECONDS = 200


def env(name):
    return os.environ[name]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def get(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as reply:
        return reply.read().decode()


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


class Container:
    """A store in a container."""

    def __init__(self, name, image, port):
        self.name = name
        self.port = free_port()
        self.id = subprocess.check_output(["docker", "run", "-d", "-p", f"127.0.0.1:{self.port}:{port}", image], text=True).strip()

    def start(self):
        subprocess.check_call(["docker", "start", self.id], stdout=subprocess.DEVNULL)

    def stop(self):
        subprocess.check_call(["docker", "stop", "-t", "10", self.id], stdout=subprocess.DEVNULL)

    def remove(self):
        subprocess.call(["docker", "rm", "-f", self.id], stdout=subprocess.DEVNULL)


class Chain:
    def __init__(self, folder):
        self.folder, self.parts, self.seen, self.runs, self.faults = folder, {}, {}, [], []
        self.stores = [Container("clickhouse", env("CLICKHOUSE_IMAGE"), 8123), Container("mongodb", env("MONGODB_IMAGE"), 27017)]
        self.parts.update({store.name: store for store in self.stores})
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
        self.part("ingress", [*parts, "ingress", ingress, self.write_url, f"{A}=eu-1:hush-a,{B}=us-1:hush-b"])
        self.exporters = {}
        for cluster, account, product in CLUSTERS:
            api, exporter = free_port(), free_port()
            self.part(f"api-{cluster}", [*parts, "simulate", api, cluster, product])
            self.part(f"exporter-{cluster}", [env("EXPORTER")], {
                "KUBECOST_URL": f"http://127.0.0.1:{api}", "TENANT_ID": account, "CLUSTER_NAME": cluster, "WINDOW": "1m", "SCRAPE_INTERVAL": "2",
                "LISTEN_ADDR": f"127.0.0.1:{exporter}", "STALE_AFTER": "180"})
            self.exporters[cluster] = f"http://127.0.0.1:{exporter}/metrics"
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
        clickhouse, mongodb = self.stores
        self.clickhouse_url = f"http://127.0.0.1:{clickhouse.port}"
        self.settings = {
            "PROMETHEUS_URL": self.query_url, "ACCOUNTS": f"{A},{B}", "CLICKHOUSE_URL": self.clickhouse_url,
            "MONGO_URL": f"mongodb://127.0.0.1:{mongodb.port}/", "LOG_FORMAT": "json", "LEASE_SECONDS": "90"}

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

    def watch(self, seconds, schedule=30):
        deadline = time.time() + seconds
        while time.time() < deadline:
            self.look()
            if not self.runs or time.time() - self.runs[-1][0] >= schedule:
                self.run()
            time.sleep(0.5)

    def shake(self, name):
        began = time.time()
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

    def stored(self, account):
        sql = f"SELECT sum(cost * sign), sum(sign) FROM expenses WHERE cloud_account_id = '{account}' FORMAT JSONCompact"
        request = urllib.request.Request(self.clickhouse_url, sql.encode())
        return json.loads(urllib.request.urlopen(request, timeout=10).read())["data"][0]

    def close(self):
        for part in self.parts.values():
            if isinstance(part, Part) and part.process.poll() is None:
                part.process.kill()
                part.process.wait()
        for store in self.stores:
            store.remove()


def cost(cluster, end):
    return sum(parts_of(cluster, end - 60, end).values())


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def sums(chain, account, began):
    """What the windows that the query layer holds cost, with and without those that came last: they may not be on the worker's minutes yet."""
    totals, holes = [0.0], []
    for cluster, owner, _ in CLUSTERS:
        if owner != account:
            continue
        held = sorted(chain.windows(cluster, int(began) - 120))
        young = [end for end in held if end > chain.runs[-1][0] - YOUNG_SECONDS]
        without = [sum(cost(cluster, end) for end in held if end not in young[kept:]) for kept in range(len(young) + 1)]
        totals = [total + more for total in totals for more in without]
        holes += [(cluster, end) for end in range(held[0], held[-1], 60) if end not in held]
    return totals, holes


def report(chain, began):
    failed = 0
    for account in (A, B):
        totals, holes = sums(chain, account, began)
        usd, rows = chain.stored(account)
        verdict = "ok" if any(abs(usd - total) < TOLERANCE_USD for total in totals) else "DIFFERS"
        failed += verdict != "ok"
        print(f"{account}: query layer {max(totals):.9f} USD, stored {usd:.9f} USD in {rows} rows: {verdict}")
        for cluster, end in holes:
            down = [name for name, start, stop in chain.faults if start - 75 <= end <= stop + 75]
            failed += not down
            print(f"  the window of {cluster} that ended at {end} never came: {', '.join(down) or 'NO PART WAS DOWN'}")
    to_exporter = [seen["exporter"] - end for (_, end), seen in chain.seen.items() if "exporter" in seen and end > began]
    to_query = [seen["query"] - seen["exporter"] for seen in chain.seen.values() if {"exporter", "query"} <= set(seen)]
    to_row = []
    for seen in chain.seen.values():
        ended = [end for start, end, code in chain.runs if code == 0 and "query" in seen and start >= seen["query"]]
        if ended:
            to_row.append(min(ended) - seen["query"])
    for hop, values in [("window closed -> exporter shows it", to_exporter), ("exporter -> query layer", to_query), ("query layer -> row, a run every 30 s", to_row)]:
        print(f"{hop}: n={len(values)} p50={percentile(values, 0.5):.1f} s p99={percentile(values, 0.99):.1f} s")
    took = [end - start for start, end, code in chain.runs if code == 0]
    print(f"{len(chain.runs)} runs, {len(took)} of them without a failure, p50 {percentile(took, 0.5):.1f} s")
    return failed


def main():
    with tempfile.TemporaryDirectory() as folder:
        chain = Chain(folder)
        try:
            until("ClickHouse answers", 60, lambda: get(chain.clickhouse_url + "/ping"))
            until("the schema is there", 60, lambda: chain.worker("migrate").returncode == 0)
            until("the query layer has every cluster", 240, lambda: len(chain.ask("cloudtuner_kubecost_cluster_total_cost")) >= len(CLUSTERS))
            began = time.time()
            chain.watch(MINUTES * 60)
            faults = os.environ.get("CHAIN_FAULTS", "exporter-a1 prometheus-b ingress receive-1 query clickhouse mongodb").split()
            for name in faults:
                print(f"{name} is down for {DOWN_SECONDS} s", flush=True)
                chain.shake(name)
            # Prometheus sends what it kept; then no new window comes, and two runs follow.
            chain.watch(60)
            for cluster, _, _ in CLUSTERS:
                chain.parts[f"exporter-{cluster}"].stop()
            chain.watch(15)
            last = [chain.run() for _ in range(2)][-1]
            if last.returncode != 0:
                print(last.stdout[-3000:], last.stderr[-3000:])
            failed = report(chain, began) + (last.returncode != 0)
            print("failed" if failed else "passed")
            return int(failed > 0)
        finally:
            if os.environ.get("CHAIN_LOGS"):
                subprocess.call(f"cp '{folder}'/*.log '{os.environ['CHAIN_LOGS']}'/", shell=True)
            chain.close()


if __name__ == "__main__":
    sys.exit(main())
