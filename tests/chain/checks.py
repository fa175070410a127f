"""What must hold at the end of the chain, and the tables that it ends with."""

import json
import time
import urllib.parse
import urllib.request

from clusters import A, B, CLUSTERS, EARLIER, WINDOW_SECONDS, WITH_PODS
from parts import EARLIER_RATE, EMPTY_SECONDS, parts_of
from stores import free_port, get

TOLERANCE_USD = 1e-6
# A part that was down so near to a window's end may be why the window is missing: it is shown once the API has it, until the next.
NEAR_SECONDS = EMPTY_SECONDS + WINDOW_SECONDS + 15
DAY = 86_400
# Servers that together hold all rows, for each of the replicas.
VIEWS = [(1, 3), (2, 4), (1, 4), (2, 3)]


class Verdicts:
    """Prints each check, and counts those that failed."""

    def __init__(self):
        self.failed = 0

    def hold(self, is_so, what):
        self.failed += not is_so
        print(f"{'ok    ' if is_so else 'FAILED'} {what}", flush=True)


def cost(cluster, end):
    return sum(parts_of(cluster, end - WINDOW_SECONDS, end).values())


def near(one, other, tolerance=TOLERANCE_USD):
    return abs(one - other) < tolerance


def struck(chain, end):
    """The parts that were down around a window's end."""
    return [name for name, start, stop in chain.faults if start - NEAR_SECONDS <= end <= stop + NEAR_SECONDS]


def windows_of(chain, cluster, verdicts):
    """The windows that the query layer has a value of at a full minute. Names the others."""
    query = f'cloudtuner_kubecost_window_end_timestamp_seconds{{cluster="{cluster}"}}'
    at_minutes = {int(end) for end in chain.minutes(query, int(chain.started))}
    held = sorted(chain.windows(cluster, int(chain.started)))
    never = [end for end in range(held[0], held[-1], WINDOW_SECONDS) if end not in held]
    # A window may be shown for less than a minute: where its exporter is stopped for good, or comes back late.
    brief = [end for end in held[:-1] if end not in at_minutes]
    for what, ends in (("never came", never), ("was shown at no full minute", brief)):
        for end in ends:
            down = struck(chain, end)
            verdicts.hold(down, f"the window of {cluster} that ended at {end} {what}: {', '.join(down) or 'NO PART WAS DOWN'}")
    print(f"       {cluster}: {len(held)} windows, {len(never)} never came, {len(brief)} too briefly")
    return at_minutes


def hours_of(chain, cluster, ended):
    """USD that an exporter of the past shows: an average over an hour says what a full hour cost, once it is over."""
    values = chain.minutes(f'cloudtuner_kubecost_cluster_total_cost{{cluster="{cluster}"}}', int(chain.started))
    hours = int(ended) // 3_600 - int(chain.started) // 3_600
    print(f"       {cluster}: {len(values)} minutes with a value, {hours} full hours")
    return hours * EARLIER_RATE


def shown(chain, ended, verdicts):
    """What the query layer shows of each account, exactly known, and only nearly; and the windows of clusters with pods."""
    totals, windows = {account: [0.0, 0.0] for account in (A, B)}, {}
    for cluster, account, product in CLUSTERS:
        if product == EARLIER:
            totals[account][1] += hours_of(chain, cluster, ended)
        else:
            windows[cluster] = windows_of(chain, cluster, verdicts)
            totals[account][0] += sum(cost(cluster, end) for end in windows[cluster])
    return totals, windows


def reported(chain, account, by):
    """Stored USD by cluster, namespace or pod, as `report` has it."""
    done = chain.worker("report", "--account", account, "--by", by, "--month-to-date", "--output", "json")
    report = json.loads(done.stdout)
    return {line["label"]: line["usd"] for line in report["lines"]}, report["total_usd"]


def parts(chain, cluster, account, windows, verdicts):
    """Each namespace and each pod has what it cost in the windows in which it ran, and nothing for those after it was gone."""
    for by in ("namespace", "pod"):
        wanted = {}
        for end in windows:
            for name, usd in parts_of(cluster, end - WINDOW_SECONDS, end, by == "pod").items():
                wanted[name] = wanted.get(name, 0.0) + usd
        wanted.pop("__idle__")
        found, _ = reported(chain, account, by)
        wrong = [f"{name}: ${usd:.9f}, stored ${found.get(name, 0.0):.9f}" for name, usd in sorted(wanted.items()) if not near(found.get(name, 0.0), usd)]
        more = sorted(name for name, usd in found.items() if name not in wanted and not name.startswith("(cluster") and not near(usd, 0.0))
        verdicts.hold(not wrong and not more, f"{cluster}: {len(wanted)} by {by} are stored as they cost {'; '.join(wrong)} {', '.join(more)}".rstrip())


def stored(chain, totals, verdicts):
    chain.cluster.catch_up()
    for account, (exact, nearly) in totals.items():
        views = {view: chain.cluster.sums(account, view) for view in VIEWS}
        usd, rows = views[VIEWS[0]]
        verdicts.hold(len(set(views.values())) == 1, f"{account}: every replica has the same ${usd:.9f} in {rows} rows")
        verdicts.hold(chain.cluster.twins(account) == 0, f"{account}: no key has more than one row")
        clusters, total = reported(chain, account, "cluster")
        verdicts.hold(near(total, usd), f"{account}: report says ${total:.9f}")
        of_windows = sum(usd for name, usd in clusters.items() if name not in [c for c, _, product in CLUSTERS if product == EARLIER])
        verdicts.hold(near(of_windows, exact), f"{account}: windows that the query layer holds ${exact:.9f}, stored ${of_windows:.9f}")
        if any(owner == account and product == EARLIER for _, owner, product in CLUSTERS):
            of_gauges = usd - of_windows
            # The hour in which they ended is over, or is not.
            is_so = any(near(of_gauges, wanted) for wanted in (nearly, nearly + EARLIER_RATE))
            verdicts.hold(is_so, f"{account}: gauges of the past ${nearly:.6f} by full hours, stored ${of_gauges:.6f}")


def readers(chain, began, verified, last, verdicts):
    verdicts.hold(last.returncode == 0, f"the last run ends with {last.returncode}")
    days = [time.strftime("%Y-%m-%d", time.gmtime(seconds)) for seconds in (began, time.time())]
    audited = chain.worker("audit", "--from", days[0], "--to", days[1])
    for name, done in (("verify", verified), ("audit", audited)):
        verdicts.hold(done.returncode == 0, f"{name} ends with {done.returncode}")
        if done.returncode:
            print(done.stdout[-4000:], done.stderr[-2000:])
    served(chain, verdicts)


def served(chain, verdicts):
    """`serve` answers as Metroculus does; nothing new has come, so it answers what is stored."""
    address = f"127.0.0.1:{free_port()}"
    chain.part("serve", [chain.program, "serve"], {**chain.settings, "SERVE_ADDR": address})
    deadline = time.time() + 30
    while True:
        try:
            get(f"http://{address}/readyz")
            break
        except OSError:
            if time.time() > deadline:
                raise
            time.sleep(0.2)
    # Both at one time: an hour of the exporter of the past may be over by now.
    chain.run()
    now = int(time.time())
    for account in (A, B):
        asked = {"cloud_account_id": account, "start_date": now - now % DAY - DAY, "end_date": now - now % DAY + DAY}
        request = urllib.request.Request(f"http://{address}/metroculus/v2/kubecost_cluster_costs?{urllib.parse.urlencode(asked)}", headers={"Secret": "hush"})
        answer = json.loads(urllib.request.urlopen(request, timeout=30).read())
        total = answer["total_cost"]
        usd, _ = chain.cluster.sums(account, VIEWS[0])
        verdicts.hold(near(total, usd, 0.005), f"{account}: serve answers ${total:.6f}, to the cent what is stored")


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def hops(chain, began, ended):
    """Where the time goes from a window's end to its row."""
    seen = {key: times for key, times in chain.seen.items() if began < key[1] < ended}
    to_exporter = [times["exporter"] - end for (_, end), times in seen.items() if "exporter" in times]
    to_query = [times["query"] - times["exporter"] for times in seen.values() if {"exporter", "query"} <= set(times)]
    to_row = []
    for times in seen.values():
        after = [end for start, end, code in chain.runs if code == 0 and "query" in times and start >= times["query"]]
        if after:
            to_row.append(min(after) - times["query"])
    print(f"{'hop':<44} {'n':>5} {'p50, s':>8} {'p99, s':>8}")
    for hop, values in [("window closed -> exporter shows it", to_exporter), ("exporter -> query layer", to_query), ("query layer -> row", to_row)]:
        print(f"{hop:<44} {len(values):>5} {percentile(values, 0.5):>8.1f} {percentile(values, 0.99):>8.1f}")
    took = [end - start for start, end, code in chain.runs if code == 0]
    print(f"{len(chain.runs)} runs, {len(took)} of them without a failure, p50 {percentile(took, 0.5):.1f} s")


def faults(chain):
    print(f"{'struck':<18} {'for, s':>7} {'runs that failed meanwhile':>28}")
    for name, start, stop in chain.faults:
        failed = [code for began, ended, code in chain.runs if code != 0 and ended > start and began < stop + 60]
        print(f"{name:<18} {stop - start:>7.0f} {len(failed):>28}")


def report(chain, times, commands, met):
    verdicts = Verdicts()
    empties, refused = met
    for cluster, polls in empties.items():
        verdicts.hold(polls > 0, f"the exporter of {cluster} met windows that were empty yet, in {polls:.0f} polls since its start")
    verdicts.hold(refused > 0, f"the ingress refused {refused} requests for good since its start")
    (began, ended), (verified, last) = times, commands
    faults(chain)
    hops(chain, began, ended)
    totals, windows = shown(chain, ended, verdicts)
    stored(chain, totals, verdicts)
    for cluster, account, _ in CLUSTERS:
        if cluster in WITH_PODS:
            parts(chain, cluster, account, windows[cluster], verdicts)
    readers(chain, began, verified, last, verdicts)
    return verdicts.failed
