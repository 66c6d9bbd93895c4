"""The curves of a run: loss and accuracy of both splits by epoch."""

from pathlib import Path

from fcnn.report.files import new_figure, png, shorten
from fcnn.report.records import Record, read_records
from fcnn.utils.files import write_bytes
from fcnn.utils.text import short

FILE = "curves.png"


def draw_curves(workdir: Path, title: str, best_step: int | None, *, smoothed: bool = False) -> Path | None:
    """Draws `curves.png` from a run's records.

    Args:
      title: what was trained on what.
      best_step: the step to mark as the best on validation, or None.
      smoothed: whether training smooths its labels: the loss that is drawn leaves that out, and its label says so.

    Returns:
      The picture's path, or None if there is no epoch to draw yet.
    """
    from matplotlib.ticker import MaxNLocator  # slow to import

    records = [record for record in read_records(workdir) if record["kind"] == "epoch"]
    if not records:
        return None
    figure = new_figure(10, 4)
    figure.suptitle(shorten(title, 110))
    axes = figure.subplots(1, 2)
    styles = {
        ("train", "raw"): ("train", "tab:gray", "-"),
        ("validation", "raw"): ("validation", "tab:blue", "-"),
        ("validation", "ema"): ("validation, averaged weights", "tab:orange", "-"),
    }
    for (split, weights), (label, color, line) in styles.items():
        rows = [r for r in records if r["split"] == split and r.get("weights", "raw") == weights]
        if not rows:
            continue
        marker = "." if len(rows) < 30 else None
        epochs = [row["epoch"] for row in rows]
        axes[0].plot(epochs, [row["loss"] for row in rows], line, color=color, label=label, marker=marker)
        axes[1].plot(epochs, [100 * row["top1"] for row in rows], line, color=color, label=label, marker=marker)
    smoothing = ", label smoothing left out" if smoothed else ""
    axes[0].set(xlabel="epoch", ylabel="cross-entropy loss" + smoothing, yscale="log")
    axes[1].set(xlabel="epoch", ylabel="top-1 accuracy (%)", ylim=_accuracy_range(records))
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))  # of a run shorter than two epochs: fractions
        if best := next((r for r in records if r["step"] == best_step), None):
            axis.axvline(best["epoch"], color="tab:green", linestyle=":", label=f"best, epoch {short(best['epoch'])}")
        axis.legend()
    path = workdir / FILE
    write_bytes(path, png(figure, dpi=120))
    return path


def _accuracy_range(records: list[Record]) -> tuple[float, float]:
    """Returns the upper part of the axis, where curves differ, with at least nine tenths of the values."""
    values = sorted(100 * record["top1"] for record in records)
    return max(0.0, values[len(values) // 10] - 5), 100.5
