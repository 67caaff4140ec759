"""Draws the hit ratios of a file: one panel for each workload, one line for each policy."""

import csv
import sys
from collections import defaultdict

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

STYLES = {
    "twinring": dict(color="#d1495b", marker="o", linewidth=2.4, zorder=3),
    "LRU": dict(color="#30638e", marker="s", linewidth=1.4),
    "FIFO": dict(color="#7a7a7a", marker="^", linewidth=1.4),
    "optimum": dict(color="#111111", linestyle="--", linewidth=1.4),
}


def read(path):
    """Workload, policy: memory sizes and hit ratios."""
    panels = defaultdict(lambda: defaultdict(list))
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            point = (int(row["memory_bytes"]), float(row["hit_ratio"]))
            panels[row["workload"]][row["policy"]].append(point)
    return panels


def size(value, _=None):
    mib = value / 2**20
    return f"{mib:.0f}" if mib >= 10 else f"{mib:.2g}"


def draw(axes, name, lines):
    for policy, points in lines.items():
        xs, ys = zip(*sorted(points))
        axes.plot(xs, ys, label=policy, markersize=5, **STYLES.get(policy, {}))
    axes.set_title(name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted({x for points in lines.values() for x, _ in points}))
    axes.xaxis.set_major_formatter(FuncFormatter(size))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0%}"))
    axes.set_xlabel("memory, MiB")
    axes.set_ylabel("hit ratio")
    axes.grid(alpha=0.3)


def main():
    source, target = sys.argv[1:]
    panels = read(source)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(5.4 * columns, 4.2 * rows), squeeze=False, layout="constrained"
    )
    for axes, (name, lines) in zip(grid.flat, panels.items()):
        draw(axes, name, lines)
    for axes in list(grid.flat)[len(panels):]:
        axes.axis("off")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figure.savefig(target, dpi=110)


main()
