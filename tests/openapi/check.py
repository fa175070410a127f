"""check.py WORKER: validates /openapi.json of `serve`, and answers of each status that can be had against its schemas."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

SECRET = "of the check"
# Days of the demo's recorded costs: 2026-11-19 to 2026-11-21, Unix seconds.
DAYS = {"start_date": 1_795_046_400, "end_date": 1_795_219_200}
KNOWN = {"cloud_account_id": "demo-production", **DAYS}
# Page, what is asked, whether the secret is shown, status.
QUESTIONS = [
    ("/kubecost_cluster_costs", KNOWN, True, 200),
    ("/kubecost_cluster_costs", {**KNOWN, "detail_level": "namespace"}, True, 200),
    ("/kubecost_metrics", KNOWN, True, 200),
    # Savings are the source's own, and nothing answers at its address.
    ("/kubecost_savings", KNOWN, True, 503),
    ("/kubecost_cluster_costs", {**KNOWN, "start_date": "yesterday"}, True, 400),
    ("/kubecost_metrics", DAYS, True, 400),
    ("/kubecost_savings", KNOWN, False, 401),
    ("/kubecost_cluster_costs", {**KNOWN, "cloud_account_id": "nobody"}, True, 404),
]


def ask(url, secret):
    headers = {"Secret": SECRET} if secret else {}
    try:
        reply = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30)
    except urllib.error.HTTPError as error:
        reply = error
    return reply.status, json.loads(reply.read())


def serving(worker, folder):
    """Starts `serve` over the demo's store; returns the process and its address."""
    store = os.path.join(folder, "demo.sqlite")
    subprocess.run([worker, "demo", "--keep", store], check=True, stdout=subprocess.DEVNULL)
    settings = {
        "STORE": f"sqlite:{store}", "ACCOUNTS": "demo-production,demo-staging", "PROMETHEUS_URL": "http://127.0.0.1:1",
        "CLUSTER_SECRET": SECRET, "SERVE_ADDR": "127.0.0.1:0",
    }
    process = subprocess.Popen([worker, "serve"], env=settings, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "serving " in line:
            return process, line.split("serving ")[1].strip()
    raise SystemExit("serve did not start")


def main():
    with tempfile.TemporaryDirectory() as folder:
        process, base = serving(sys.argv[1], folder)
        try:
            _, document = ask(base.removesuffix("/metroculus/v2") + "/openapi.json", False)
            validate(document)
            print(f"openapi.json is a valid document of OpenAPI {document['openapi']}")
            for page, asked, secret, wanted in QUESTIONS:
                status, answer = ask(f"{base}{page}?{urllib.parse.urlencode(asked)}", secret)
                assert status == wanted, (page, asked, status, answer)
                schema = document["paths"][page]["get"]["responses"][str(status)]["content"]["application/json"]["schema"]
                Draft202012Validator({**schema, "components": document["components"]}).validate(answer)
                print(f"{page} {status}: as the document says")
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
