"""The data of tests/image/pod, and what must be in the stores after it.

pod_stores.py accounts MONGO_URL PASSWORD [--third]   MongoDB: the user `worker` and the accounts; or the third account alone
pod_stores.py history LAST                            the gauges as OpenMetrics text, up to the minute LAST
pod_stores.py check LAST PROMETHEUS_URL CLICKHOUSE_URL MONGO_URL [--third]
                                                      what is stored against what the numbers below come to

Rates are USD an hour. What is expected is counted here minute by minute and shares no code with the worker.
"""

import collections
import datetime
import hashlib
import json
import sys
import urllib.parse
import urllib.request

DAY = 86400
LOOKBACK = 300  # a sample stands for at most so many seconds
# account: cluster, its rate, its namespaces' rates. `batch` ran on the day before the last one only, 06:00 to 16:00.
ACCOUNTS = {
    "11111111-aaaa-4000-8000-000000000001": ("eu-1", 6.0, {"shop": 2.4, "web": 1.25}),
    "22222222-bbbb-4000-8000-000000000002": ("us-1", 3.5, {"batch": 0.75}),
}
# The shard of an account is a hash of its id: of two, the first two accounts are in one, the third in the other.
THIRD = {"33333333-cccc-4000-8000-000000000002": ("ap-1", 1.5, {"api": 0.9})}
BATCH = (6 * 3600, 16 * 3600)


def first(last):
    return last // DAY * DAY - 2 * DAY


def seconds(namespace, last):
    """The times of a series' samples."""
    start, end = first(last), last + 1
    if namespace == "batch":
        start, end = first(last) + DAY + BATCH[0], first(last) + DAY + BATCH[1]
    return range(start, end, 60)


def history(last):
    for metric, values in (
        ("cluster_total_cost", [(a, c, None, rate) for a, (c, rate, _) in {**ACCOUNTS, **THIRD}.items()]),
        ("namespace_total_cost", [(a, c, n, rate) for a, (c, _, names) in {**ACCOUNTS, **THIRD}.items() for n, rate in names.items()]),
    ):
        print(f"# TYPE cloudtuner_kubecost_{metric} gauge")
        for account, cluster, namespace, rate in values:
            labels = f'tenant_id="{account}",cluster="{cluster}"' + (f',namespace="{namespace}"' if namespace else "")
            for t in seconds(namespace, last):
                print(f"cloudtuner_kubecost_{metric}{{{labels}}} {rate} {t}")
    print("# EOF")


def hours_by_day(namespace, last, is_left_open):
    """Hours of each day in which an instant query finds the series."""
    times = seconds(namespace, last)
    after = LOOKBACK - 60 if is_left_open else LOOKBACK  # how long the last sample is found
    found = collections.Counter(t // DAY * DAY for t in range(times[0], times[-1] + after + 1, 60))
    return {day: minutes / 60 for day, minutes in found.items()}


def identity(*parts):
    kind = {"cluster": "cluster", "namespace": "ns"}[parts[0]]
    return f"k8s-{kind}-" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def expected(accounts, last, is_left_open):
    """(account, day, resource) -> (cost, namespace)"""
    rows = {}
    for account, (cluster, rate, namespaces) in accounts.items():
        left = {day: hours * rate for day, hours in hours_by_day(None, last, is_left_open).items()}
        for namespace, namespace_rate in namespaces.items():
            for day, hours in hours_by_day(namespace, last, is_left_open).items():
                rows[account, day, identity("namespace", account, cluster, namespace)] = hours * namespace_rate, namespace
                left[day] -= hours * namespace_rate
        for day, cost in left.items():
            rows[account, day, identity("cluster", account, cluster)] = cost, ""
    return rows


def get(url, **parameters):
    return urllib.request.urlopen(url + "?" + urllib.parse.urlencode(parameters)).read().decode()


def check(last, prometheus, clickhouse, mongo, accounts):
    version = json.loads(get(f"{prometheus}/api/v1/status/buildinfo"))["data"]["version"]
    wanted = expected(accounts, last, int(version.split(".")[0]) >= 3)
    query = "SELECT cloud_account_id, toUInt32(date), resource_id, sum(cost * sign), any(k8s_namespace), sum(sign) FROM expenses GROUP BY cloud_account_id, date, resource_id FORMAT TSV"
    rows = {}
    for line in get(clickhouse, query=query).splitlines():
        account, date, resource, cost, namespace, signs = line.split("\t")
        if signs != "1":
            sys.exit(f"{line}: {signs} live rows")
        rows[account, int(date), resource] = float(cost), namespace.replace("\\N", "")
    if set(rows) != set(wanted):
        sys.exit(f"expenses: missing {sorted(set(wanted) - set(rows))}, too many {sorted(set(rows) - set(wanted))}")
    for key, (cost, namespace) in wanted.items():
        if abs(rows[key][0] - cost) > 1e-6 or rows[key][1] != namespace:
            sys.exit(f"expenses: {key}: {rows[key]}, not {(cost, namespace)}")
    documents = {(d["cloud_account_id"], d["_id"], d.get("name")) for d in database(mongo)["cloud_resource"].find()}
    names = {(a, resource, f"Namespace: {namespace}" if namespace else f"Cluster: {accounts[a][0]}") for (a, _, resource), (_, namespace) in wanted.items()}
    if documents != names:
        sys.exit(f"cloud_resource: {sorted(documents)}, not {sorted(names)}")
    days = collections.Counter(datetime.datetime.fromtimestamp(day, datetime.timezone.utc).date().isoformat() for _, day, _ in wanted)
    print(f"{len(rows)} rows, {sum(cost for cost, _ in rows.values()):.6f} USD, {len(documents)} documents, by day {dict(days)}")


def database(url):
    import pymongo

    return pymongo.MongoClient(url, serverSelectionTimeoutMS=5000)["restapi"]


def accounts(url, password, is_third):
    restapi = database(url)
    if not is_third:
        restapi.command("createUser", "worker", pwd=password, roles=[{"role": "readWrite", "db": "restapi"}])
    for account in THIRD if is_third else ACCOUNTS:
        restapi["cloud_account"].insert_one({"_id": account, "type": "kubernetes_cnr", "deleted_at": 0, "name": account[:8]})


command, *rest = [argument for argument in sys.argv[1:] if argument != "--third"]
is_third = "--third" in sys.argv
if command == "history":
    history(int(rest[0]))
elif command == "accounts":
    accounts(rest[0], rest[1], is_third)
elif command == "check":
    check(int(rest[0]), *rest[1:], {**ACCOUNTS, **THIRD} if is_third else ACCOUNTS)
else:
    sys.exit(__doc__)
