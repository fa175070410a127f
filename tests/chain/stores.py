"""The stores of the chain, in containers."""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(HERE, "..", "servers", "clickhouse-cluster", "cluster")
COLUMNS = (
    "cloud_account_id String, resource_id String, date DateTime, cost Float64, sign Int8, k8s_namespace Nullable(String), "
    "k8s_node Nullable(String), k8s_service Nullable(String)"
)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def get(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as reply:
        return reply.read().decode()


def docker(*arguments):
    return subprocess.check_output(["docker", *arguments], text=True).strip()


class Container:
    """A store in a container."""

    def __init__(self, name, image, port):
        self.name, self.port = name, free_port()
        self.id = docker("run", "-d", "-p", f"127.0.0.1:{self.port}:{port}", image)

    def start(self):
        docker("start", self.id)

    def stop(self):
        docker("stop", "-t", "10", self.id)

    def remove(self):
        subprocess.call(["docker", "rm", "-f", self.id], stdout=subprocess.DEVNULL)


class Server:
    """One server of the cluster, which ends as in a crash."""

    def __init__(self, cluster, number):
        self.cluster, self.number = cluster, number

    def stop(self):
        docker("exec", self.cluster.id, "bash", "/cluster", "kill", str(self.number))

    def start(self):
        docker("exec", self.cluster.id, "bash", "/cluster", "start", str(self.number))


class Cluster:
    """Two shards of two replicas of ClickHouse, and what keeps them together."""

    NUMBERS = (1, 2, 3, 4)

    def __init__(self, image):
        ports = {number: free_port() for number in self.NUMBERS}
        published = [word for number, port in ports.items() for word in ("-p", f"127.0.0.1:{port}:812{number}")]
        self.urls = [f"http://127.0.0.1:{port}" for port in ports.values()]
        self.id = docker("run", "-d", "--user", "root", "-v", f"{os.path.abspath(PROGRAM)}:/cluster:ro", *published, "--entrypoint", "bash", image, "/cluster", "run")

    def server(self, number):
        return Server(self, number)

    def ask(self, number, statement):
        request = urllib.request.Request(self.urls[number - 1], statement.encode())
        return urllib.request.urlopen(request, timeout=30).read().decode()

    def make_tables(self):
        replicated = "ReplicatedCollapsingMergeTree('/tables/{shard}/expenses', '{replica}', sign)"
        order = "PARTITION BY toYYYYMM(date) ORDER BY (cloud_account_id, date, resource_id)"
        for number in self.NUMBERS:
            self.ask(number, f"CREATE TABLE expenses_local ({COLUMNS}) ENGINE = {replicated} {order}")
        for number in self.NUMBERS:
            self.ask(number, f"CREATE TABLE expenses ({COLUMNS}) ENGINE = Distributed(grid, default, expenses_local, cityHash64(resource_id))")

    def sums(self, account, servers):
        """USD and signs of an account over these servers, each of another shard."""
        sql = f"SELECT sum(cost * sign), sum(sign) FROM expenses_local WHERE cloud_account_id = '{account}' FORMAT TabSeparated"
        of_servers = [self.ask(number, sql).split() for number in servers]
        return sum(float(usd) for usd, _ in of_servers), sum(int(signs) for _, signs in of_servers)

    def twins(self, account):
        """Keys whose signs are not one row."""
        sql = (
            "SELECT count() FROM (SELECT resource_id, date FROM expenses "
            f"WHERE cloud_account_id = '{account}' GROUP BY resource_id, date HAVING sum(sign) NOT IN (0, 1))"
        )
        return int(self.ask(1, sql))

    def catch_up(self):
        """Waits until replicas have what the others have."""
        waiting = "SELECT count() FROM system.replication_queue"
        deadline = time.time() + 60
        while any(int(self.ask(number, waiting)) for number in self.NUMBERS):
            if time.time() > deadline:
                raise SystemExit("replicas are not the same after 60 s")
            time.sleep(0.5)

    def remove(self):
        subprocess.call(["docker", "rm", "-f", self.id], stdout=subprocess.DEVNULL)
