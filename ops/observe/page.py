"""The page of `try.py`: each panel of the dashboard with the data that its queries gave, and what was tried."""

import html
import math
import re
import time

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5b5b5b", "#8c564b"]
WIDTH, HEIGHT, LEFT, BOTTOM = 420, 170, 52, 18
POINTS = 240
STYLE = """body{font:14px/1.4 system-ui,sans-serif;margin:16px;color:#222;background:#fff}
h1{font-size:20px}h2{font-size:16px;margin:24px 0 4px}table{border-collapse:collapse}
td,th{border-bottom:1px solid #ddd;padding:3px 8px;text-align:left;vertical-align:top}
.panels{display:flex;flex-wrap:wrap;gap:12px}figure{margin:0;width:420px;border:1px solid #ddd;padding:6px}
figcaption{font-weight:600}small{color:#555}svg{display:block}.bad{color:#b00020;font-weight:600}
.legend{max-height:64px;overflow:auto;font-size:11px}.legend span{margin-right:8px;white-space:nowrap}"""


def render(dashboard, prometheus, results, silent, window):
    """Everything as one file that needs no other."""
    start, end = prometheus.started + 5, time.time()
    step = max(1, math.ceil((end - start) / POINTS))
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>{dashboard['title']}</title>",
             f"<style>{STYLE}</style><h1>{dashboard['title']}: dashboard and alerts, tried</h1>", table(results)]
    parts.append(f"<p>Raised by no fault here, and shown by rules_test.yml: {', '.join(silent)}.</p>")
    parts.append("<p><small>Grey: while a fault was made. Times are seconds since Prometheus was started.</small></p>")
    faults = [(result.began, result.ended) for result in results if result.raised]
    is_open = False
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            parts.append("</div>" * is_open + f"<h2>{html.escape(panel['title'])}</h2><div class=panels>")
            is_open = True
            continue
        lines = []
        for target in panel["targets"]:
            found = prometheus.query_range(target["expr"].replace("$__rate_interval", window), start, end, step)
            lines += [(legend(target["legendFormat"], one["metric"]), points(one)) for one in found]
        parts.append(figure(panel, lines, start, end, faults))
    return "\n".join(parts) + "</div>\n"


def table(results):
    rows = (f"<tr><td{'' if one.good else ' class=bad'}>{'ok' if one.good else 'FAIL'}<td>{html.escape(one.name)}"
            f"<td>{html.escape(one.words)}" for one in results)
    return f"<table><tr><th><th>what was tried<th>alerts, and after how many seconds{''.join(rows)}</table>"


def legend(text, labels):
    """As Grafana fills it: a label that a series does not have is empty."""
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), text)


def points(series):
    values = ((float(at), float(value)) for at, value in series["values"])
    return [(at, value) for at, value in values if math.isfinite(value)]


def figure(panel, lines, start, end, faults):
    """One panel: a picture, and its legend."""
    values = [value for _, line in lines for _, value in line]
    low, high = min(values + [0]), max(values + [0])
    high = high if high > low else low + 1

    def x(at):
        return LEFT + (at - start) / (end - start) * (WIDTH - LEFT - 6)

    def y(value):
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - 8)

    drawn = [f'<rect x="{x(began):.1f}" y="0" width="{max(x(ended) - x(began), 1):.1f}" height="{HEIGHT - BOTTOM}" '
             'fill="#eee"/>' for began, ended in faults]
    for value in (low, (low + high) / 2, high):
        drawn.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ccc"/>'
                     f'<text x="{LEFT - 4}" y="{y(value) + 4:.1f}" text-anchor="end">{shown(value, panel)}</text>')
    for at in (start, (start + end) / 2, end):
        drawn.append(f'<text x="{x(at):.1f}" y="{HEIGHT - 4}" text-anchor="middle">{at - start:.0f}</text>')
    for number, (_, line) in enumerate(lines):
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in line)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[number % len(COLOURS)]}"/>')
    names = "".join(f'<span style="color:{COLOURS[number % len(COLOURS)]}">■ {html.escape(name)}</span>'
                    for number, (name, _) in enumerate(lines)) or '<b class="bad">no data</b>'
    picture = f'<svg width="{WIDTH}" height="{HEIGHT}" font-size="10" fill="#222">{"".join(drawn)}</svg>'
    return (f"<figure><figcaption>{html.escape(panel['title'])}</figcaption>"
            f"<small>{html.escape(panel['description'])}</small>{picture}<div class=legend>{names}</div></figure>")


def shown(value, panel):
    """A figure with the unit of its panel."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "bytes":
        return f"{value / 1e6:.0f} MB"
    if unit == "s" and abs(value) < 1:
        return f"{value * 1_000:.3g} ms"
    return f"{value:.3g}" + (" s" if unit == "s" else "")
