"""remote_write.py PORT UPSTREAM ACCOUNT USER PASSWORD-FILE TARGET-PORT METRICS-FILE

Two small servers on loopback: an ingress that checks the header Cloud-Account-Id and basic auth as CloudTuner's does, and passes what it
lets through on to UPSTREAM; and a target that serves METRICS-FILE at /metrics. What the ingress refuses it prints.
"""

import base64
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, upstream, account, user, password_file, target_port, metrics_file = sys.argv[1:]


class Ingress(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        password = open(password_file).read()
        wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        if self.path != "/storage/api/v2/write":
            status = 404
        elif not self.headers.get("Cloud-Account-Id"):
            status = 400
        elif self.headers.get("Cloud-Account-Id") != account or self.headers.get("Authorization") != wanted:
            status = 401
        else:
            headers = {k: v for k, v in self.headers.items() if k.lower() in ("content-type", "content-encoding", "x-prometheus-remote-write-version")}
            try:
                status = urllib.request.urlopen(urllib.request.Request(upstream, body, headers)).status
            except urllib.error.HTTPError as error:
                status = error.code
                print(error.read().decode(), file=sys.stderr, flush=True)
        print(status, flush=True)
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


class Target(Ingress):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(open(metrics_file, "rb").read())


threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", int(target_port)), Target).serve_forever, daemon=True).start()
ThreadingHTTPServer(("127.0.0.1", int(port)), Ingress).serve_forever()
