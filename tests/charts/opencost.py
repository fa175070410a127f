"""opencost.py serve ADDRESS PORT: an OpenCost on ADDRESS that answers any window with one recorded hour, moved to it.
opencost.py costs: what that hour cost by namespace and in all, a line each: NAMESPACE USD, the total as "total".
"""

import gzip
import json
import os
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RECORDED = os.path.join(os.path.dirname(__file__), "../../fixtures/opencost-run/alloc")
START, END = "2026-11-20T16:00:00Z", "2026-11-20T17:00:00Z"


def hour(aggregate):
    """The recorded reply's text; its rows are of START to END."""
    name = {"namespace": "hour16-namespace-idle", "namespace,pod": "hour16-namespace+pod-idle"}[aggregate]
    return gzip.open(f"{RECORDED}/{name}.json.gz", "rt").read()


class OpenCost(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        status, body = 404, "404 page not found\n"
        if url.path == "/allocation" and query.get("aggregate") in ("namespace", "namespace,pod"):
            start, end = query["window"].split(",")
            status, body = 200, hour(query["aggregate"]).replace(START, start).replace(END, end)
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status == 200 else "text/plain")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


if sys.argv[1] == "serve":
    ThreadingHTTPServer((sys.argv[2], int(sys.argv[3])), OpenCost).serve_forever()
else:
    rows = json.loads(hour("namespace"))["data"][0]
    costs = {name: row["totalCost"] for name, row in rows.items()}
    for name, cost in sorted(costs.items()):
        print(name, cost)
    print("total", sum(costs.values()))
