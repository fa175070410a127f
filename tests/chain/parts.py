"""The parts of the chain that are no programs of their own.

parts.py simulate PORT CLUSTER PRODUCT     an allocation API as OpenCost or Kubecost is, over a cluster that is computed: a pod
                                           that restarts, a job that comes and goes
parts.py ingress PORT UPSTREAM ACCOUNTS    what remote_write sends to: checks header and user, names the tenant to Thanos, refuses
                                           now and then; GET says how often
parts.py earlier PORT TENANT CLUSTER       an exporter of the past: gauges of an hour's average that do not say their window
parts.py service PORT SERVER...            gives each request to the next server, as a Kubernetes Service does; /inserts counts
parts.py page PORT FILE                    shows a file of metrics, which a worker leaves
parts.py cost CLUSTER START END            what runs in [START, END) costs, USD
"""

import base64
import itertools
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

NAMESPACES = {"shop": 0.5, "web": 0.25, "jobs": 0.125}
IDLE = 0.125
# A window that is over is empty for so long, as a closed hour is at the real servers: longer than the exporter waits before it
# first asks for it (as long as the window, here two minutes), so that it finds it empty and has to ask again.
EMPTY_SECONDS = 130
# So long a pod of web runs before another one takes its place; every so often a job runs, and so long.
WEB_SECONDS, JOB_EVERY_SECONDS, JOB_SECONDS = 420, 480, 180
# Of every four minutes the ingress refuses what comes in these seconds with 422, which makes Prometheus drop it. Windows change
# at other times: a staleness marker that is lost would show for five minutes what is gone.
REFUSED_EVERY_SECONDS, REFUSED_FROM, REFUSED_TO = 240, 60, 66
# Requests in a row that went well before one is refused: what was kept while a part was down is not dropped.
WELL_BEFORE_REFUSED = 5
# USD per hour that the exporter of the past shows.
EARLIER_RATE = 3.0


def rate(cluster, minute):
    """USD per hour of a cluster in a minute: changes every minute, exact in binary."""
    base = 1 + sum(cluster.encode()) % 7
    return base + (minute // 60 % 13) / 8


def running(minute):
    """The pods of a minute, with their share of the cluster's cost. What no job takes is idle."""
    pods = {"shop/shop-0": NAMESPACES["shop"], f"web/web-{minute // WEB_SECONDS % 1000}": NAMESPACES["web"]}
    if minute % JOB_EVERY_SECONDS < JOB_SECONDS:
        pods[f"jobs/job-{minute // JOB_EVERY_SECONDS % 1000}"] = NAMESPACES["jobs"]
    return {**pods, "__idle__": 1 - sum(pods.values())}


def rows_of(cluster, start, end, by_pod=False):
    """By name: USD in [start, end), and when it began and ended."""
    rows = {}
    for minute in range(start, end, 60):
        until = min(minute + 60, end)
        usd = rate(cluster, minute) * (until - minute) / 3_600
        for pod, share in running(minute).items():
            row = rows.setdefault(pod if by_pod else pod.split("/")[0], [0.0, minute, until])
            row[0] += usd * share
            row[2] = until
    return rows


def parts_of(cluster, start, end, by_pod=False):
    """USD by name of [start, end)."""
    return {name: usd for name, (usd, _, _) in rows_of(cluster, start, end, by_pod).items()}


def text(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text):
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp())


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"", kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def simulate(port, cluster, product):
    path = {"opencost": "/allocation", "kubecost": "/model/allocation"}[product]

    class Api(Quiet):
        def do_GET(self):
            url = urlparse(self.path)
            if url.path != path:
                return self.answer(404, b"404 page not found\n", "text/plain")
            asked = {name: values[0] for name, values in parse_qs(url.query).items()}
            start, end = map(seconds, asked["window"].split(","))
            now, rows = int(time.time()), {}
            # A window that still runs is answered with what there is of it, as the real servers do.
            if now < end or now >= end + EMPTY_SECONDS:
                window = {"start": text(start), "end": text(end)}
                for name, (usd, first, last) in rows_of(cluster, start, min(end, now), asked["aggregate"].endswith("pod")).items():
                    rows[name] = {
                        "name": name, "window": window, "start": text(first), "end": text(last), "minutes": (last - first) / 60,
                        "cpuCost": usd * 0.75, "ramCost": usd * 0.25, "totalCost": usd}
            reply = {"code": 200, "data": [rows]}
            if product == "opencost":
                reply["status"] = "success"
            self.answer(200, json.dumps(reply).encode())

    ThreadingHTTPServer(("127.0.0.1", port), Api).serve_forever()


def ingress(port, upstream, accounts):
    """ACCOUNTS: account=user:password, by commas."""
    users = {account: "Basic " + base64.b64encode(user.encode()).decode() for account, user in (pair.split("=", 1) for pair in accounts.split(","))}

    well, refused = {}, [0]

    def refuses(account):
        """Whether this request is refused for good, as a receiver refuses samples that it cannot take."""
        is_time = REFUSED_FROM <= time.time() % REFUSED_EVERY_SECONDS < REFUSED_TO
        refused[0] += (so := is_time and well.get(account, 0) >= WELL_BEFORE_REFUSED)
        return so

    class Ingress(Quiet):
        def do_GET(self):
            self.answer(200, str(refused[0]).encode(), "text/plain")

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            account = self.headers.get("Cloud-Account-Id")
            if self.path != "/storage/api/v2/write":
                return self.answer(404)
            if not account:
                return self.answer(400)
            if users.get(account) != self.headers.get("Authorization"):
                return self.answer(401)
            if refuses(account):
                return self.answer(422)
            kept = ("content-type", "content-encoding", "x-prometheus-remote-write-version")
            headers = {name: value for name, value in self.headers.items() if name.lower() in kept}
            headers["THANOS-TENANT"] = account
            try:
                status = urllib.request.urlopen(urllib.request.Request(upstream, body, headers), timeout=10).status
            except urllib.error.HTTPError as error:
                status = error.code
            except OSError:
                status = 503
            well[account] = well.get(account, 0) + 1 if status < 300 else 0
            self.answer(status)

    ThreadingHTTPServer(("127.0.0.1", port), Ingress).serve_forever()


def earlier(port, tenant, cluster):
    """Always the same rate, so that averages are what they are averages of."""
    names = f'tenant_id="{tenant}",cluster="{cluster}"'
    cost = names + ',currency="USD"'
    gauges = {f"cloudtuner_kubecost_cluster_total_cost{{{cost}}}": EARLIER_RATE}
    for name, share in {**NAMESPACES, "__idle__": IDLE}.items():
        gauges[f'cloudtuner_kubecost_namespace_total_cost{{{cost},namespace="{name}"}}'] = EARLIER_RATE * share
    about = f'version="1.0.0",aggregation_level="namespace",window="1h",cluster_name="{cluster}",tenant_id="{tenant}"'
    gauges[f"cloudtuner_kubecost_exporter_info{{{about}}}"] = 1
    page = "".join(f"{name} {value}\n" for name, value in gauges.items()).encode()

    class Page(Quiet):
        def do_GET(self):
            self.answer(200, page, "text/plain; version=0.0.4")

    ThreadingHTTPServer(("127.0.0.1", port), Page).serve_forever()


def page(port, path):
    class Page(Quiet):
        def do_GET(self):
            try:
                with open(path, "rb") as file:
                    self.answer(200, file.read(), "text/plain; version=0.0.4")
            except OSError:
                self.answer(503)

    ThreadingHTTPServer(("127.0.0.1", port), Page).serve_forever()


def service(port, servers):
    turns, inserts, lock = itertools.count(), [0], threading.Lock()

    class Service(Quiet):
        def do_GET(self):
            self.pass_on(None)

        def do_POST(self):
            self.pass_on(self.body())

        def body(self):
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def pass_on(self, body):
            if self.path == "/inserts":
                return self.answer(200, str(inserts[0]).encode(), "text/plain")
            if "query=INSERT" in self.path:
                with lock:
                    inserts[0] += 1
            left_out = ("host", "content-length", "transfer-encoding", "connection", "accept-encoding")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
            for _ in servers:
                server = servers[next(turns) % len(servers)]
                try:
                    request = urllib.request.Request(server + self.path, body, headers, method=self.command)
                    reply = urllib.request.urlopen(request, timeout=60)
                except urllib.error.HTTPError as error:
                    reply = error
                except urllib.error.URLError as error:
                    if isinstance(error.reason, ConnectionRefusedError):
                        continue
                    return self.answer(502)
                except OSError:
                    # Sent and not answered: the client must see that, as it would without a proxy.
                    return self.answer(502)
                return self.answer(reply.status, reply.read(), reply.headers.get("Content-Type", "text/plain"))
            self.answer(503)

    ThreadingHTTPServer(("127.0.0.1", port), Service).serve_forever()


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "simulate":
        simulate(int(arguments[0]), *arguments[1:])
    elif command == "ingress":
        ingress(int(arguments[0]), *arguments[1:])
    elif command == "earlier":
        earlier(int(arguments[0]), *arguments[1:])
    elif command == "page":
        page(int(arguments[0]), arguments[1])
    elif command == "service":
        service(int(arguments[0]), arguments[1:])
    else:
        cluster, start, end = arguments[0], int(arguments[1]), int(arguments[2])
        print(sum(parts_of(cluster, start, end).values()))
