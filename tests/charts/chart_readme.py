"""Makes the README of a chart from its values.yaml: every value, its default and the comment above it.

usage: chart_readme.py CHART [--write]     without --write: says whether the file is as it would be made
"""

import sys

import yaml


def rows(lines):
    """(path, default, meaning) of each value that is no map of further values, and of each map with a comment.

    The meaning is the comment above a value, or else the map that has one: `resources` says what its parts are.
    """
    path, comment, explained = [], [], set()
    for number, line in enumerate(lines):
        text = line.strip()
        if not text:
            comment = []
            continue
        if text.startswith("#"):
            comment.append(text.lstrip("# "))
            continue
        if text.startswith("- ") or ":" not in text:
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        key, value = text.split(":", 1)
        path = [*path[:depth], key]
        value = value.strip()
        has_more = value == "" and number + 1 < len(lines)
        if has_more:
            parent = " ".join(comment)
            if parent:
                explained.add(".".join(path))
                yield ".".join(path), None, parent
        else:
            above = [".".join(path[:length]) for length in range(len(path) - 1, 0, -1)]
            part_of = next((f"part of `{name}`" for name in above if name in explained), "")
            yield ".".join(path), value, " ".join(comment) or part_of
        comment = []


def made(chart):
    about = yaml.safe_load(open(f"{chart}/Chart.yaml"))
    lines = open(f"{chart}/values.yaml").read().splitlines()
    name = about["name"]
    out = [
        f"# {name}",
        "",
        f"{about['description']}. Version {about['version']}, Kubernetes {about['kubeVersion'].replace('-0', '')}.",
        "",
        f"    helm install NAME charts/{name} -n NS -f values.yaml",
        "",
        "How to install, upgrade and look after it: [OPERATIONS.md](../../docs/OPERATIONS.md). Unknown and wrong values are refused by `values.schema.json`.",
        "Made from `values.yaml` by `tests/charts/run --update`.",
        "",
        "| value | default | meaning |",
        "|---|---|---|",
    ]
    for path, default, comment in rows(lines):
        shown = "" if default is None else f"`{default}`"
        cells = [f"`{path}`", shown, comment]
        out.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(out) + "\n"


def main(chart, write):
    unexplained = [path for path, _, meaning in rows(open(f"{chart}/values.yaml").read().splitlines()) if not meaning]
    if unexplained:
        print(f"{chart}/values.yaml: no comment above {', '.join(unexplained)}")
        return 1
    text = made(chart)
    path = f"{chart}/README.md"
    if write:
        open(path, "w").write(text)
        return 0
    try:
        return 0 if open(path).read() == text else 1
    except FileNotFoundError:
        return 1


sys.exit(main(sys.argv[1], "--write" in sys.argv))
