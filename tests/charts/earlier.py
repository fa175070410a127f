"""The tables of docs/COMING-FROM-EARLIER.md against the program and the chart: each earlier setting is known or refused as the table
says, none that the program knows is missing, today's names exist, and the chart refuses the earlier values by name.

usage: earlier.py REPOSITORY HELM-TEMPLATE-COMMAND
"""

import re
import subprocess
import sys

import yaml


def tables(text):
    """The rows of each table, as lists of cells, by the first cell of its heading."""
    found = []
    for line in text.splitlines():
        if not line.startswith("|"):
            found.append(None)
        elif found and isinstance(found[-1], list):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        else:
            found.append([[cell.strip() for cell in line.strip("|").split("|")]])
    return [table for table in found if table]


def former(source):
    """Name: (what becomes of it, the values that it may have) of the program's own list."""
    body = source[source.index("const NAMES"):source.index("];", source.index("const NAMES"))]
    return {
        name: (kind, re.findall(r'"([^"]*)"', rest.split("]")[0]) if kind == "Nothing" else [])
        for name, kind, rest in re.findall(r'\("([A-Z_]+)",\s*(Setting|Word|Nothing|Anything)\((.*)\)\)', body)
    }


def problem_of(setting, remark, known, today):
    """What is wrong with a row that says `remark` of the earlier `setting`."""
    name, _, value = setting.partition("=")
    if remark == "the same":
        return "" if name in today else "is no setting"
    if name not in known:
        return "is not known to the program"
    kind, values = known[name]
    says = remark.split(":")[0].split(";")[0].split(",")[0].strip()
    accepted = kind == "Anything" or value.lower() in values
    right = {
        "taken": kind in ("Setting", "Word"),
        "nothing to set": kind in ("Nothing", "Anything") and accepted,
        "refused": kind == "Nothing" and not accepted,
    }
    if says not in right:
        return f"'{says}' is none of {', '.join(right)}"
    return "" if right[says] else f"the table says '{says}', the program has {kind} {values}"


def settings(rows, known, today):
    wrong, seen = [], set()
    for cells in rows:
        earlier, now = (re.findall(r"`([^`]+)`", cell) for cell in cells[:2])
        remark = cells[2] or cells[1]
        for setting in earlier:
            seen.add(setting.partition("=")[0])
            if problem := problem_of(setting, remark, known, today):
                wrong.append(f"{setting}: {problem}")
        wrong += [f"{name}: is no setting today" for name in now if re.match(r"[A-Z]", name) and name.partition("=")[0] not in today]
    wrong += [f"{name}: the program knows it, and the table does not" for name in set(known) - seen]
    return wrong, len(seen)


def values(rows, chart, render):
    wrong, count = [], 0
    for cells in rows:
        for path in re.findall(r"`([^`]+)`", cells[1]):
            at, keys = chart, path.partition("=")[0].split(".")
            for key in keys:
                at = at.get(key) if isinstance(at, dict) else None
            if at is None:
                wrong.append(f"{path}: is no value of the chart")
        for path in re.findall(r"`([^`]+)`", cells[0]):
            count += 1
            done = subprocess.run([*render.split(), "--set", f"{path}=x"], capture_output=True, text=True)
            if done.returncode == 0 or f"'{path.split('.')[0]}' not allowed" not in done.stderr:
                wrong.append(f"{path}: the chart does not refuse it by name: {done.stderr[:200]}")
    return wrong, count


def main(repository, render):
    def read(path):
        with open(f"{repository}/{path}") as file:
            return file.read()

    known = former(read("src/settings/former_names.rs"))
    assert len(known) > 5, "the program's list was not found"
    today = set(re.findall(r"^    ([A-Z][A-Z_]+)(?: \(secret\))?(?: = \"[^\"]*\")?:", read("src/settings/exporter_names.rs"), re.M))
    of_exporter, of_chart, *_ = tables(read("docs/COMING-FROM-EARLIER.md"))
    wrong, names = settings(of_exporter[2:], known, today)
    more, paths = values(of_chart[2:], yaml.safe_load(read("charts/kubecost-integration/values.yaml")), render)
    print("\n".join([*wrong, *more, f"{names} earlier settings and {paths} earlier values, {len(wrong + more)} wrong"]))
    return 1 if wrong or more else 0


sys.exit(main(*sys.argv[1:]))
