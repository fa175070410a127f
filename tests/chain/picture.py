"""Draws the worker's pipeline dashboard over a Prometheus, as one page: what each panel's own queries answer.

picture.py DASHBOARD URL START END OUT.html     no Grafana: its look is not drawn, its panels and numbers are
"""

import html
import json
import sys
import urllib.parse
import urllib.request

COLUMN, ROW = 50, 34
COLOURS = ["#3274d9", "#e0752d", "#37872d", "#c4162a", "#8f3bb8", "#b7950b", "#0f7b8a", "#7a5c48"]


def ask(url, path, **parameters):
    reply = urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=30)
    return json.loads(reply.read())["data"]["result"]


def shown(value, unit):
    if unit == "s":
        return f"{value:.0f} s" if value < 120 else f"{value / 60:.1f} min"
    if unit == "percentunit":
        return f"{value * 100:.1f} %"
    return f"{value:.4g}"


def name_of(metric):
    return ", ".join(value.split("-4000")[0] for key, value in sorted(metric.items()) if key != "__name__") or "all"


def expressions(panel):
    for target in panel.get("targets", []):
        text = target["expr"]
        for variable in ("$account", "$tenant", "$cluster"):
            text = text.replace(variable, ".*")
        legend = target.get("legendFormat") or ""
        yield text.replace("$__rate_interval", "5m").replace("$__interval", "1m").replace("$__range", "15m"), "" if "{" in legend else legend


def stat(panel, url, end):
    unit = panel["fieldConfig"]["defaults"].get("unit", "")
    found = [series for text, _ in expressions(panel) for series in ask(url, "query", query=text, time=end)]
    if not found:
        return '<p class="none">no data</p>'
    first = found[0]
    value = name_of(first["metric"]) if panel["title"] == "Version" else shown(float(first["value"][1]), unit)
    return f'<p class="stat">{html.escape(value)}</p>'


def table(panel, url, end):
    found = [series for text, _ in expressions(panel) for series in ask(url, "query", query=text, time=end)]
    rows = "".join(f"<tr><td>{html.escape(name_of(series['metric']))}</td></tr>" for series in found[:8])
    return f"<table>{rows}</table>" if rows else '<p class="none">no data</p>'


def lines(panel, url, start, end, width, height):
    unit = panel["fieldConfig"]["defaults"].get("unit", "")
    step = max(5, int((end - start) / 240))
    found = [
        (legend or name_of(series["metric"]), series)
        for text, legend in expressions(panel)
        for series in ask(url, "query_range", query=text, start=start, end=end, step=step)
    ]
    values = [float(value) for _, series in found for _, value in series["values"]]
    if not values:
        return '<p class="none">no data</p>'
    low, high = min(values + [0.0]), max(values)
    high = high if high > low else low + 1
    drawn, legend = [], []
    for index, (name, series) in enumerate(found[:8]):
        colour = COLOURS[index]
        points = " ".join(
            f"{(time - start) / (end - start) * width:.1f},{height - (float(value) - low) / (high - low) * height:.1f}" for time, value in series["values"]
        )
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        legend.append(f'<span style="color:{colour}">{html.escape(name)}</span>')
    return (
        f'<p class="axis">{shown(high, unit)}</p><svg width="{width}" height="{height}">{"".join(drawn)}</svg>'
        f'<p class="axis">{shown(low, unit)}</p><p class="legend">{" ".join(legend)}</p>'
    )


def page(dashboard, url, start, end):
    boxes, bottom = [], 0
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        x, y, w, h = at["x"] * COLUMN, at["y"] * ROW, at["w"] * COLUMN - 8, at["h"] * ROW - 8
        bottom = max(bottom, y + h)
        kind = panel["type"]
        if kind == "row":
            inner = ""
        elif kind == "stat":
            inner = stat(panel, url, end)
        elif kind == "table":
            inner = table(panel, url, end)
        else:
            inner = lines(panel, url, start, end, w - 16, max(20, h - 88))
        style = f"left:{x}px;top:{y}px;width:{w}px;height:{h}px"
        boxes.append(f'<div class="{kind}" style="{style}"><h2>{html.escape(panel["title"])}</h2>{inner}</div>')
    css = """body{margin:8px;font:12px sans-serif;background:#f4f5f5;color:#24292e}main{position:relative}
    div{position:absolute;background:#fff;border:1px solid #d8d9da;padding:4px 8px;box-sizing:border-box;overflow:hidden}
    div.row{background:none;border:none}h2{font-size:13px;margin:0 0 2px}p{margin:0}.axis{font-size:10px;color:#666}
    .stat{font-size:24px;padding-top:10px}.legend{font-size:10px}.none{color:#999;padding-top:10px}"""
    title = html.escape(dashboard["title"])
    return f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{css}</style><main style="height:{bottom}px">{"".join(boxes)}</main>'


if __name__ == "__main__":
    path, url, start, end, out = sys.argv[1:]
    with open(path) as file:
        text = page(json.load(file), url, float(start), float(end))
    with open(out, "w") as file:
        file.write(text)
