#!/usr/bin/env python3
"""Draws the boards as pictures, from the answers of a running Prometheus to their own queries.

For where there is no Grafana: what lies where, in which unit and under which name is the board's; the looks are not.
Needs matplotlib (`pip install matplotlib`).

    dashboards/draw.py --scenario blocking-call --out docs/boards
"""

import argparse
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

BOARDS = Path(__file__).parent / "grafana" / "boards"
# Grafana's grid has 24 columns, and a row of it is 30 pixels high.
COLUMNS, CELL = 24, (0.62, 0.34)
MOST_LINES, MOST_ROWS = 10, 6


def ask(base, path, **parameters):
    """What Prometheus answers, or one sentence on why it does not."""
    address = f"{base}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        sys.exit(f"Prometheus refuses `{parameters.get('query')}`: {json.load(error).get('error')}")
    except OSError as error:
        sys.exit(f"no Prometheus answers at {base}: {error}; start one as dashboards/README.md says")


def scaled(value, unit):
    """A figure with the unit people would choose."""
    steps = {
        "s": [(1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")],
        "bytes": [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")],
        "ops": [(1e6, "M/s"), (1e3, "k/s"), (1, "/s")],
        "percentunit": [(0.01, "%")],
    }.get(unit, [(1e6, "M"), (1e3, "k"), (1, "")])
    size, name = next((step for step in steps if abs(value) >= step[0]), steps[-1])
    return f"{value / size:.3g} {name}".strip() if value else "0"


def named(template, labels):
    """The name of a line, as the board's legend says it."""
    if template in (None, "", "__auto"):
        return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()) if key != "__name__")
    return re.sub(r"{{\s*(\w+)\s*}}", lambda match: labels.get(match[1], ""), template)


def cut(text, most):
    """The end of a text tells more than its beginning: paths and functions."""
    return text if len(text) <= most else "…" + text[len(text) - most + 1 :]


class Source:
    """The stretch of time that is drawn, and what the board's variables stand for."""

    def __init__(self, options):
        self.base, self.scenario = options.prometheus.rstrip("/"), options.scenario
        self.end, self.seconds = time.time(), options.minutes * 60
        self.step = max(options.minutes * 60 // 240, 5)

    def query(self, text):
        known = {
            "$__rate_interval": "1m", "$__interval": f"{self.step}s", "$__range": f"{self.seconds}s",
            "$scenario": self.scenario, "$service": f"{self.scenario}(-cured)?", "$process": ".*",
        }
        for name, value in known.items():
            text = text.replace(name, value)
        return text

    def now(self, text):
        return ask(self.base, "query", query=self.query(text), time=self.end)

    def series(self, text):
        span = {"start": self.end - self.seconds, "end": self.end, "step": self.step}
        return ask(self.base, "query_range", query=self.query(text), **span)

    def minutes(self, at):
        return (float(at) - self.end) / 60


def lines(axes, panel, source, unit):
    drawn = 0
    for target in panel["targets"]:
        for one in source.series(target["expr"])[:MOST_LINES]:
            times = [source.minutes(at) for at, _ in one["values"]]
            values = [float(value) for _, value in one["values"]]
            name = cut(named(target.get("legendFormat"), one["metric"]), 5 * panel["gridPos"]["w"])
            axes.plot(times, values, label=name, linewidth=1.4, marker="." if len(values) < 3 else None)
            drawn += 1
    if drawn == 0:
        return nothing(axes)
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", fontsize=6.5, framealpha=0.8, ncols=2 if drawn > 3 and panel["gridPos"]["w"] > 8 else 1)
    frame(axes, source, unit)


def heat(axes, panel, source, unit):
    found = source.series(panel["targets"][0]["expr"])
    found = sorted((one for one in found if one["metric"].get("le") != "+Inf"), key=lambda one: float(one["metric"]["le"]))
    if not found:
        return nothing(axes)
    times = sorted({at for one in found for at, _ in one["values"]})
    sums = [[dict((at, float(value)) for at, value in one["values"]).get(at, 0.0) for at in times] for one in found]
    # Buckets hold what is smaller too.
    own = [[max(here - below, 0) ** 0.5 for here, below in zip(row, before)] for row, before in zip(sums, [[0] * len(times)] + sums)]
    axes.pcolormesh([source.minutes(at) for at in times], range(len(found)), own, cmap="Oranges", shading="nearest")
    shown = range(0, len(found), max(len(found) // 6, 1))
    axes.set_yticks(list(shown), [scaled(float(found[row]["metric"]["le"]), unit) for row in shown])
    frame(axes, source, None)


def frame(axes, source, unit):
    axes.set_xlim(-source.seconds / 60, 0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:.0f} min" if at else "now"))
    if unit:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: scaled(value, unit)))
    axes.tick_params(labelsize=6.5, length=2)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def nothing(axes):
    axes.axis("off")
    axes.text(0.5, 0.5, "No data", ha="center", va="center", color="0.5", fontsize=9)


def table(axes, panel, source, _):
    rows = [one["metric"] | {"Value": one["value"][1]} for one in source.now(panel["targets"][0]["expr"])]
    hidden = {"Time", "__name__"}
    for change in panel.get("transformations", []):
        hidden |= {name for name, yes in change["options"].get("excludeByName", {}).items() if yes}
    columns = sorted({name for row in rows for name in row} - hidden)
    if not rows or not columns:
        return nothing(axes)
    axes.axis("off")
    width = {name: min(max([len(name)] + [len(row.get(name, "")) for row in rows]), 64) for name in columns}
    text = [[cut(row.get(name, ""), width[name]) or "–" for name in columns] for row in rows[:MOST_ROWS]]
    whole = (sum(width.values()) + 2 * len(columns)) * 1.02
    drawn = axes.table(text, colLabels=columns, colWidths=[(width[name] + 2) / whole for name in columns], loc="upper left", cellLoc="left")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(6.5)
    for (row, _), cell in drawn.get_celld().items():
        cell.set(edgecolor="0.85", linewidth=0.5, facecolor="0.95" if row == 0 else "white")
    if len(rows) > MOST_ROWS:
        axes.text(0, 0, f"and {len(rows) - MOST_ROWS} more", fontsize=6.5, color="0.4")


def figures(axes, panel, source, unit):
    axes.axis("off")
    found = [(named(target.get("legendFormat"), one["metric"]), float(one["value"][1]))
             for target in panel["targets"] for one in source.now(target["expr"])]
    if not found:
        return nothing(axes)
    for place, (name, value) in enumerate(found):
        at = (place + 0.5) / len(found)
        axes.text(at, 0.55, scaled(value, unit), ha="center", va="center", fontsize=15, weight="bold")
        axes.text(at, 0.12, name, ha="center", va="center", fontsize=7, color="0.4")


KINDS = {"timeseries": lines, "heatmap": heat, "table": table, "stat": figures}


def draw(board, source, out):
    panels = board["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    size = (COLUMNS * CELL[0], (height + 2) * CELL[1])
    page = plt.figure(figsize=size, facecolor="#f4f5f5")
    inch = lambda place, left, low, width, high: page.add_axes((left / size[0], 1 - (low + high) / size[1], width / size[0], high / size[1]), **place)
    page.text(0.01, 1 - 0.35 / size[1], board["title"], fontsize=12, weight="bold", va="center")
    for panel in panels:
        grid = panel["gridPos"]
        left, top, width, high = grid["x"] * CELL[0], (grid["y"] + 2) * CELL[1], grid["w"] * CELL[0], grid["h"] * CELL[1]
        if panel["type"] == "row":
            page.text((left + 0.15) / size[0], 1 - (top + high / 2) / size[1], panel["title"], fontsize=9.5, va="center", color="0.25")
            continue
        card = inch({"facecolor": "white"}, left + 0.06, top + 0.05, width - 0.12, high - 0.1)
        card.set(xticks=[], yticks=[])
        card.spines[:].set(edgecolor="0.85", linewidth=0.6)
        card.text(0.12 / (width - 0.12), 1 - 0.16 / (high - 0.1), panel["title"], fontsize=8, weight="bold", va="center")
        flat = panel["type"] in ("table", "stat")
        axes = inch({}, left + (0.2 if flat else 0.72), top + 0.4, width - (0.4 if flat else 0.95), high - (0.5 if flat else 0.75))
        KINDS[panel["type"]](axes, panel, source, panel["fieldConfig"]["defaults"].get("unit"))
    path = out / f"{board['uid']}.png"
    page.savefig(path, dpi=100)
    plt.close(page)
    print(path)


def main():
    wishes = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    wishes.add_argument("--prometheus", default="http://127.0.0.1:9090", help="its address [%(default)s]")
    wishes.add_argument("--scenario", required=True, help="the service to show, and its cured twin")
    wishes.add_argument("--minutes", type=int, default=10, help="how far back [%(default)s]")
    wishes.add_argument("--board", action="append", help="only these, by uid; all unless said")
    wishes.add_argument("--out", type=Path, required=True, help="the folder for the pictures")
    options = wishes.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    source = Source(options)
    boards = [json.loads(path.read_text()) for path in sorted(BOARDS.glob("*.json"))]
    chosen = [board for board in boards if not options.board or board["uid"] in options.board]
    if not chosen:
        sys.exit(f"there is no such board; there are {', '.join(board['uid'] for board in boards)}")
    for board in chosen:
        draw(board, source, options.out)


if __name__ == "__main__":
    main()
