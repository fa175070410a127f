"""Circumstances of an operator's trial: which alerts of the worker fire in each, and no others."""

from circumstances import DAY, HOUR, series


def accounts(count, state="ok", minutes=8 * HOUR, insert=None, **labels):
    """Accounts in one state; `insert`: when their expenses were last written."""
    found = []
    for number in range(count):
        shard = f"s{labels['shard']}-" if "shard" in labels else ""
        own = {"cloud_account_id": f"{state}-{shard}{number}", **labels}
        for other in ("ok", "partial", "failed", "no-data", "skipped"):
            value = 1 if other == state else 0
            found.append(series("kubecost_worker_account_state", f"{value}x{minutes}", state=other, **own))
        insert = insert or f"0+60x{minutes}"
        found.append(series("expenses_last_insert_time", insert, cloud_account_type="kubernetes_cnr", **own))
    return found


def run(minutes=8 * HOUR, success=None, duration="60", **labels):
    """A worker, or a shard of it, that runs; `success`: its last success."""
    return [
        series("kubecost_worker_run_last_success_timestamp_seconds", success or f"0+60x{minutes}", **labels),
        series("kubecost_worker_run_duration_seconds", f"{duration}x{minutes}", **labels),
        series("kubecost_worker_build_info", f"1x{minutes}", version="0.2.0", **labels),
    ]


def outcomes(ok, failed=0, minutes=8 * HOUR, **labels):
    return [
        series("kubecost_worker_accounts", f"{ok}x{minutes}", outcome="ok", **labels),
        series("kubecost_worker_accounts", f"{failed}x{minutes}", outcome="failed", **labels),
    ]


def failures(values=f"0+1x{8 * HOUR}"):
    return [series("kubecost_worker_failures_total", values, hop="query-layer", kind="timeout")]


def cronjob(name="kubecost-worker", namespace="costs", schedule=None, minutes=8 * HOUR, suspended=0):
    own = {"namespace": namespace, "cronjob": name}
    return [
        series("kube_cronjob_status_last_schedule_time", schedule or f"0+60x{minutes}", **own),
        series("kube_cronjob_spec_suspend", f"{suspended}x{minutes}", **own),
        series("kube_cronjob_status_last_successful_time", f"0x{minutes}", **own),
    ]


def failed_job(name, namespace="costs", minutes=8 * HOUR):
    own = {"namespace": namespace, "job_name": name}
    return [
        series("kube_job_status_failed", f"1x{minutes}", **own),
        series("kube_job_status_start_time", f"600x{minutes}", **own),
    ]


def job_of_shards(name="kubecost-worker-29411000", namespace="costs", minutes=8 * HOUR):
    """kube-state-metrics of an Indexed Job that ended with a failed index (reason FailedIndexes, which it has no label for)."""
    own = {"namespace": namespace, "job_name": name}
    known = ("BackoffLimitExceeded", "DeadlineExceeded", "Evicted")
    return [
        *(series("kube_job_status_failed", f"0x{minutes}", reason=reason, **own) for reason in known),
        series("kube_job_status_failed", f"3x{minutes}", reason="", **own),
        series("kube_job_status_succeeded", f"3x{minutes}", **own),
        series("kube_job_status_start_time", f"600x{minutes}", **own),
    ]


def of_day(metric, values, day="yesterday", account="ok-0"):
    return [series(f"kubecost_worker_{metric}", values, cloud_account_id=account, day=day)]


def outcomes_for(minutes, ok, failed):
    """Outcomes of that many minutes, and then of runs in which all accounts are done."""
    return [
        series("kubecost_worker_accounts", f"{ok}x{minutes} {ok + failed}x480", outcome="ok"),
        series("kubecost_worker_accounts", f"{failed}x{minutes} 0x480", outcome="failed"),
    ]


def outcomes_by_hour(failing):
    """Outcomes of hourly runs over 20 accounts, of which all fail in those marked 1."""
    values = {"ok": ["0x59" if hour == "1" else "20x59" for hour in failing], "failed": ["20x59" if hour == "1" else "0x59" for hour in failing]}
    return [series("kubecost_worker_accounts", " ".join(parts), outcome=outcome) for outcome, parts in values.items()]


def warnings(kind, account="ok-0", **labels):
    return [series("kubecost_worker_account_warnings", "1x480", kind=kind, cloud_account_id=account, **labels)]


def reconciliation(dollars):
    return [series("kubecost_worker_reconciliation_difference_usd", f"{dollars}x480", cloud_account_id="ok-0")]


def partial(hours):
    """Three accounts of long standing that are partial in the last hours before the second day's tenth."""
    whole, rest = DAY + (10 - hours) * HOUR, f"1x{2 * DAY}"
    return [
        part
        for number in range(3)
        for part in (
            series("kubecost_worker_account_state", f"0x{whole} {rest}", state="partial", cloud_account_id=f"p-{number}"),
            series("kubecost_worker_day_cost_usd", "9x4320", day="yesterday", cloud_account_id=f"p-{number}"),
        )
    ]


STOPPED = f"0+60x{HOUR} {HOUR * 60}x{8 * HOUR}"
SIX_HOURS = "alerts.windowSeconds=21600"
# Expenses written every six hours, as an exporter with WINDOW=6h has it.
SIX_HOURLY = " ".join(f"{step * 21600}x359" for step in range(5))
HOURLY = " ".join(f"{step * 3600}x59" for step in range(10))
HOURLY_FAILURES = " ".join(f"{step}x59" for step in range(10))
FOUR = [part for shard in range(4) for part in run(shard=shard)]
# Coverage of the day that ended: its last window is missing for a while after each midnight.
NIGHT = " ".join(["0.958x70 1x1368"] * 3)
NIGHT_OF_SIX = " ".join(["0.75x370 1x1068"] * 3)

# name, values, series, minute, what fires
CASES = [
    ("all is well", [], run() + accounts(50) + outcomes(50) + cronjob(), 5 * HOUR, {}),
    (
        "1 of 1000 accounts fails for hours",
        [],
        run() + accounts(30) + accounts(1, "failed") + outcomes(999, 1) + failures() + cronjob(),
        5 * HOUR,
        {"KubecostAccountFailed": 1, "KubecostHopFailing": 1},
    ),
    (
        "1 of 1000 accounts fails for hours, and by it each Job",
        ["config.FAIL_ON=account"],
        run() + accounts(30) + accounts(1, "failed") + outcomes(999, 1) + failures() + cronjob() + failed_job("kubecost-worker-29411000"),
        5 * HOUR,
        {"KubecostAccountFailed": 1, "KubecostHopFailing": 1, "KubecostWorkerFailing": 1},
    ),
    (
        "30 of 100 accounts fail",
        [],
        run() + accounts(70) + accounts(30, "failed") + outcomes(70, 30) + failures(),
        5 * HOUR,
        {"KubecostManyAccountsFailed": 1, "KubecostHopFailing": 1},
    ),
    (
        "the query layer refuses all of 200 accounts",
        [],
        run(success=STOPPED) + accounts(200, "failed", insert=STOPPED) + outcomes(0, 200) + failures(),
        6 * HOUR,
        {"KubecostNoAccountDone": 1, "KubecostWorkerNotSucceeding": 1, "KubecostHopFailing": 1},
    ),
    (
        "the worker is down with 200 accounts",
        [],
        run(success=STOPPED) + accounts(200, insert=STOPPED) + outcomes(200),
        6 * HOUR,
        {"KubecostWorkerNotSucceeding": 1},
    ),
    (
        "the CronJob makes no Jobs",
        [],
        run(success=STOPPED) + accounts(20, insert=STOPPED) + outcomes(20) + cronjob(schedule=STOPPED),
        6 * HOUR,
        {"KubecostWorkerNotSucceeding": 1, "KubecostWorkerNotScheduled": 1},
    ),
    (
        "the CronJob is suspended on purpose",
        [],
        run(success=STOPPED) + accounts(20, insert=STOPPED) + cronjob(schedule=STOPPED, suspended=1),
        6 * HOUR,
        {"KubecostWorkerSuspended": 1},
    ),
    (
        "MongoDB is down, so a run has no accounts",
        [],
        run(success=STOPPED) + outcomes(0) + failures(),
        6 * HOUR,
        {"KubecostWorkerNotSucceeding": 1},
    ),
    (
        "a shard of four is dead for five hours",
        ["shards=4"],
        FOUR[3:] + run(success=STOPPED, shard=0) + accounts(50, shard=0, insert=STOPPED) + accounts(50, shard=1),
        6 * HOUR,
        {"KubecostWorkerNotSucceeding": 1},
    ),
    (
        "a shard of four is dead for five hours, so each Job fails",
        ["shards=4"],
        FOUR[3:] + run(success=STOPPED, shard=0) + accounts(50, shard=0, insert=STOPPED) + accounts(50, shard=1)
        + cronjob() + job_of_shards(),
        6 * HOUR,
        {"KubecostWorkerNotSucceeding": 1, "KubecostWorkerFailing": 1},
    ),
    (
        "the only account of a shard fails",
        ["shards=4"],
        FOUR[3:] + run(success=STOPPED, shard=0) + accounts(1, "failed", shard=0, insert=STOPPED) + accounts(50, shard=1)
        + outcomes(0, 1, shard=0) + outcomes(50, shard=1) + cronjob() + job_of_shards(),
        6 * HOUR,
        {"KubecostWorkerNotSucceeding": 1, "KubecostWorkerFailing": 1, "KubecostAccountFailed": 1},
    ),
    (
        "a shard of four has never succeeded",
        ["shards=4"],
        FOUR[3:] + accounts(10, shard=1),
        6 * HOUR,
        {"KubecostWorkerAbsent": 1},
    ),
    (
        "a shard was removed, its group stays at the Pushgateway",
        ["shards=3"],
        FOUR[:9] + run(success="0x480", shard=3) + accounts(10, shard=0) + accounts(50, shard=3, insert="0x480"),
        6 * HOUR,
        {},
    ),
    (
        "accounts moved to another shard",
        ["shards=4"],
        FOUR + accounts(20, shard=0)
        + [series("expenses_last_insert_time", "0x480", cloud_account_type="kubernetes_cnr", cloud_account_id="ok-s0-1", shard=1)],
        6 * HOUR,
        {},
    ),
    (
        "the group from before there were shards stays",
        ["shards=4"],
        FOUR + run(success="0x480") + accounts(10, shard=0) + accounts(50, "partial", insert="0x480"),
        6 * HOUR,
        {},
    ),
    (
        "an account was deleted, its last insert stays",
        [],
        run() + accounts(10)
        + [series("expenses_last_insert_time", "0x480", cloud_account_type="kubernetes_cnr", cloud_account_id="gone")],
        6 * HOUR,
        {},
    ),
    (
        "no row is written although the account is done",
        [],
        run() + accounts(1, insert="0x480"),
        3 * HOUR,
        {"K8sExpensesStale": 1},
    ),
    (
        "WINDOW=6h, as it should be",
        [SIX_HOURS],
        run(30 * HOUR) + accounts(1, minutes=30 * HOUR, insert=SIX_HOURLY)
        + [series("kubecost_worker_source_lag_seconds", "43000x1800", cloud_account_id="ok-0")],
        29 * HOUR + 55,
        {},
    ),
    (
        "WINDOW=6h, but the chart was not told",
        [],
        run(30 * HOUR) + accounts(1, minutes=30 * HOUR, insert=SIX_HOURLY)
        + [series("kubecost_worker_source_lag_seconds", "43000x1800", cloud_account_id="ok-0")],
        29 * HOUR + 55,
        {"K8sExpensesStale": 1, "KubecostSourceLate": 1},
    ),
    (
        "WINDOW=6h, and nothing for 12 hours",
        [SIX_HOURS],
        run(30 * HOUR) + accounts(1, minutes=30 * HOUR, insert="0x1800"),
        12 * HOUR,
        {"K8sExpensesStale": 1},
    ),
    (
        "WINDOW=6h, the first hours of a night",
        [SIX_HOURS],
        run(3 * DAY) + accounts(1, minutes=3 * DAY) + of_day("coverage_ratio", NIGHT_OF_SIX) + of_day("day_cost_usd", "9x4320"),
        2 * DAY + 369,
        {},
    ),
    (
        "each night's first hour",
        [],
        run(3 * DAY) + accounts(1, minutes=3 * DAY) + of_day("coverage_ratio", NIGHT) + of_day("day_cost_usd", "9x4320"),
        2 * DAY + 69,
        {},
    ),
    (
        "each night's first hour, of an account whose day has no window yet",
        [],
        run(3 * DAY)
        + [series("kubecost_worker_account_state", " ".join(["1x75 0x1363"] * 3), state="no-data", cloud_account_id="a")]
        + [series("kubecost_worker_account_state", " ".join(["0x75 1x1363"] * 3), state="ok", cloud_account_id="a")],
        2 * DAY + 74,
        {},
    ),
    (
        "half of yesterday is missing",
        [],
        run(3 * DAY) + accounts(1, minutes=3 * DAY) + of_day("coverage_ratio", "0.5x4320") + of_day("day_cost_usd", "9x4320"),
        2 * DAY + 30,
        {"KubecostCoverageLow": 1},
    ),
    (
        "a new customer's second day: the first began at noon",
        [],
        run(3 * DAY) + accounts(1, "partial", minutes=3 * DAY)
        + of_day("coverage_ratio", f"_x{DAY} 0.5x{2 * DAY}", account="partial-0")
        + of_day("day_cost_usd", f"0x{DAY} 5x{2 * DAY}", account="partial-0"),
        DAY + 12 * HOUR,
        {},
    ),
    (
        "a new customer's third day costs twice the first, which was half a day",
        [],
        run(4 * DAY) + accounts(1, minutes=4 * DAY)
        + of_day("coverage_ratio", f"_x{DAY} 0.5x{DAY} 1x{2 * DAY}")
        + of_day("day_cost_usd", f"0x{DAY} 5x{DAY} 12x{2 * DAY}"),
        2 * DAY + 5 * HOUR,
        {},
    ),
    (
        "a customer who has not installed anything yet",
        [],
        run() + accounts(1, "no-data", insert="_x480"),
        5 * HOUR,
        {},
    ),
    (
        "a customer's cluster stops sending",
        [],
        run()
        + [series("kubecost_worker_account_state", "0x60 1x420", state="no-data", cloud_account_id="a")]
        + [series("kubecost_worker_account_state", "1x60 0x420", state="ok", cloud_account_id="a")]
        + [series("expenses_last_insert_time", STOPPED, cloud_account_type="kubernetes_cnr", cloud_account_id="a")],
        5 * HOUR,
        {"KubecostAccountNoData": 1},
    ),
    (
        "an hourly schedule",
        ["schedule=7 * * * *"],
        run(success=HOURLY, duration="400") + accounts(20, insert=HOURLY) + cronjob(schedule=HOURLY),
        5 * HOUR + 59,
        {},
    ),
    (
        "an hourly schedule, and all accounts fail in one run",
        ["schedule=7 * * * *"],
        run(success=HOURLY.replace("18000x59", "14400x59"), duration="400") + outcomes_by_hour("000001000") + failures("0x299 20x239"),
        5 * HOUR + 50,
        {},
    ),
    (
        "an hourly schedule, and a hop fails in every run",
        ["schedule=7 * * * *"],
        run(success=HOURLY, duration="400") + accounts(9) + accounts(1, "failed") + outcomes(9, 1) + failures(HOURLY_FAILURES),
        6 * HOUR + 55,
        {"KubecostHopFailing": 1, "KubecostAccountFailed": 1},
    ),
    (
        "an hourly schedule that stands still",
        ["schedule=7 * * * *"],
        run(success=STOPPED, duration="400") + accounts(20, insert=STOPPED) + cronjob(schedule=STOPPED),
        5 * HOUR,
        {"KubecostWorkerNotSucceeding": 1, "KubecostWorkerNotScheduled": 1},
    ),
    (
        "a renamed release fails",
        ["fullnameOverride=kubecost-worker-eu"],
        run() + cronjob("kubecost-worker-eu") + failed_job("kubecost-worker-eu-29411000"),
        HOUR,
        {"KubecostWorkerFailing": 1},
    ),
    (
        "another release in the namespace fails",
        [],
        run() + cronjob() + cronjob("kubecost-worker-eu") + failed_job("kubecost-worker-eu-29411000"),
        HOUR,
        {},
    ),
    (
        "a release of the same name in another namespace fails",
        [],
        run() + cronjob() + cronjob(namespace="other") + failed_job("kubecost-worker-29411000", "other"),
        HOUR,
        {},
    ),
    ("a Job by hand fails", [], run() + cronjob() + failed_job("kubecost-worker-manual"), HOUR, {}),
    (
        "one long run after an outage",
        [],
        run(duration="60x120 1800x10 60") + accounts(20),
        2 * HOUR + 9,
        {},
    ),
    ("the Pushgateway is down for an hour", [], [series("up", "1x90", job="x")], HOUR, {"KubecostWorkerAbsent": 1}),
    (
        "an upgrade: two versions for an hour",
        [],
        run() + [series("kubecost_worker_build_info", "1x60 _x420", version="0.1.0")],
        HOUR,
        {},
    ),
    ("2 of 10 accounts fail", [], run() + accounts(8) + accounts(2, "failed") + outcomes(8, 2), 5 * HOUR, {"KubecostAccountFailed": 2}),
    ("3 of 20 accounts fail", [], run() + accounts(17) + accounts(3, "failed") + outcomes(17, 3), 5 * HOUR, {"KubecostManyAccountsFailed": 1}),
    ("all fail, in the first ten minutes only", [], run() + outcomes_for(9, 0, 200) + accounts(200), 9, {}),
    ("accounts fail in one run and are done in the next", [], run() + accounts(10) + outcomes_for(14, 7, 3), 14, {}),
    (
        "a customer changes the currency of the cost model",
        [],
        run() + accounts(30) + warnings("currency"),
        2 * HOUR,
        {"KubecostCurrencyRefused": 1},
    ),
    ("another account has another warning, for hours", [], run() + accounts(30) + warnings("other"), 8 * HOUR, {}),
    (
        "rows of another writer lie among the expenses, and resources are folded",
        [],
        run() + accounts(30) + warnings("foreign-rows") + warnings("folded", "ok-1"),
        7 * HOUR,
        {"KubecostForeignRows": 1, "KubecostResourcesFolded": 1},
    ),
    (
        "an exporter of former times: its days are averages",
        [],
        run(30 * HOUR) + accounts(1, minutes=30 * HOUR)
        + [series("kubecost_worker_account_day_states", "2x1800", cloud_account_id="ok-0", state="approximate")],
        25 * HOUR,
        {"KubecostAccountApproximate": 1},
    ),
    (
        "a removed shard leaves its warnings, lag, contradictions and failures",
        ["shards=3"],
        FOUR[:9] + accounts(10, shard=0)
        + warnings("currency", shard=3) + warnings("foreign-rows", shard=3) + outcomes(0, 50, shard=3)
        + [series(f"kubecost_worker_{name}", "90000x480", cloud_account_id="x", shard=3)
           for name in ("source_lag_seconds", "source_contradictions", "reconciliation_difference_usd")]
        + [series("kubecost_worker_day_anomaly_usd", "40x480", cloud_account_id="x", kind="spike", shard=3)],
        7 * HOUR,
        {},
    ),
    (
        "a former release, renamed since, fails in its last Job",
        ["fullnameOverride=kubecost-worker-eu"],
        run() + cronjob("kubecost-worker-eu") + failed_job("kubecost-worker-29411000"),
        HOUR,
        {},
    ),
    (
        "a daily schedule, 23 hours after its run",
        ["schedule=0 3 * * *"],
        run(30 * HOUR, success="0x1800", duration="3000") + accounts(20, minutes=30 * HOUR, insert="0x1800"),
        23 * HOUR,
        {},
    ),
    (
        "a daily schedule that was missed twice",
        ["schedule=0 3 * * *"],
        run(3 * DAY, success="0x4320", duration="3000"),
        49 * HOUR,
        {"KubecostWorkerNotSucceeding": 1},
    ),
    ("a run takes nearly all of the time to the next", [], run(duration="280"), HOUR, {"KubecostWorkerSlow": 1}),
    ("source and store differ by five cents", [], run() + accounts(1) + reconciliation("0.05"), HOUR, {"KubecostReconciliationOff": 1}),
    ("source and store differ by a rounding", [], run() + accounts(1) + reconciliation("0.004"), HOUR, {}),
    ("accounts are partial for five hours", [], run(3 * DAY) + partial(5), DAY + 10 * HOUR, {}),
    ("accounts are partial for ten hours", [], run(3 * DAY) + partial(10), DAY + 10 * HOUR, {"KubecostAccountPartial": 3}),
    (
        "the REST API is down, of four shards for one",
        ["shards=4"],
        FOUR + [series("kubecost_worker_rest_api_failed_calls", f"{4 if shard == 2 else 0}x480", shard=shard) for shard in range(4)],
        2 * HOUR,
        {"KubecostRestApiCallsFailing": 1},
    ),
    (
        "a namespace costs three times as much since yesterday",
        [],
        run(3 * DAY) + accounts(2, minutes=3 * DAY)
        + [series("kubecost_worker_day_anomaly_usd", f"0x{DAY} 80x{2 * DAY}", cloud_account_id="ok-0", kind="spike")]
        + of_day("coverage_ratio", "1x4320") + of_day("day_cost_usd", f"40x{DAY} 120x{2 * DAY}"),
        DAY + 3 * HOUR,
        {"KubecostCostSpike": 1, "KubecostDayCostDoubled": 1},
    ),
]
