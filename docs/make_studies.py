"""Makes docs/studies.md and its figures out of what the studies have left in runs/study-NAME, after running those that
haven't been run: python docs/make_studies.py [NAME ...]"""

import sys
import textwrap
from pathlib import Path

from PIL import Image

from fcnn import cli, registry

DOCS = Path(__file__).parent
STUDIES = {name: registry.load(registry.STUDIES, name, "study") for name in registry.STUDIES}
TITLES = {
    "initialization": "The scale of the initial weights",
    "vanishing_gradient": "The vanishing gradient",
    "residual": "Depth with and without residual connections",
    "batch_norm_rates": "Learning rates that batch norm allows",
    "batch_norm_init": "Batch norm and the initial weights",
    "batch_size": "Batch norm and small batches",
    "optimizers": "Optimizers and generalization",
    "regularization": "L1, L2, dropout, augmentation",
    "small_kernels": "Three 3 x 3 against one 7 x 7",
    "linear_stack": "Convolutions without activation",
    "max_pooling": "Max pooling and small translations",
    "random_search": "Random against grid search",
    "transfer": "Transfer",
}
INTRODUCTION = """# The studies

Each study tests a classic claim by one small experiment. `fcnn study` lists the studies, and `fcnn study NAME` runs
one, on scikit-learn's digits unless `--data.name` names other images, in at most three minutes on two cores. It prints
a table, writes a figure and all numbers, and says whether the claim held: by a criterion that was fixed beforehand,
from means and standard errors over several seeds. Results of networks this small on images of 8 x 8 pixels may not
carry over to yours; `--seed 1` repeats an experiment with other random numbers.

These are the results with seed 0 ([make_studies.py](make_studies.py) writes this page):
"""


def main() -> None:
    (DOCS / "studies").mkdir(exist_ok=True)
    parts, rows = [], []
    chosen = sys.argv[1:] or list(STUDIES)
    for name in chosen:
        folder = Path("runs") / f"study-{name}"
        if not (folder / f"{name}.txt").exists():
            cli.main(["study", name])
        verdict = " ".join((folder / f"{name}.txt").read_text().strip().split("\n\n")[-1].split())
        shrink(folder / f"{name}.png", DOCS / "studies" / f"{name}.png")
        held = verdict.startswith("The claim held")
        rows.append(
            f"| [{TITLES[name]}](#{anchor(TITLES[name])}) | {STUDIES[name].claim} | {'yes' if held else '**no**'} |"
        )
        parts.append(section(name, verdict))
    table = ["| study | claim | held here |", "|---|---|---|", *rows]
    missing = ", ".join(f"`{name}`" for name in STUDIES if name not in chosen)
    if missing:
        parts.append(f"Not measured yet: {missing}.\n")
    (DOCS / "studies.md").write_text("\n".join([INTRODUCTION, *table, "", *parts]))


def section(name: str, verdict: str) -> str:
    study = STUDIES[name]
    lines = [
        f"## {TITLES[name]}\n",
        f"Claim: {study.claim}. Source: {study.paper}. Criterion: {study.criterion}.\n",
        f"```bash\nfcnn study {name}\n```\n",
        f"**{verdict.split(':')[0]}:**{verdict[verdict.index(':') + 1 :]}\n",
        f"![{study.claim}](studies/{name}.png)\n",
    ]
    return "\n".join(wrapped(line) for line in lines)


def wrapped(text: str) -> str:
    return text if text[0] in "#`!" else textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n"


def anchor(title: str) -> str:
    """GitHub's name of a heading."""
    return "".join(c for c in title.lower() if c.isalnum() or c in " -").replace(" ", "-")


def shrink(source: Path, target: Path) -> None:
    """As a PNG of at most 64 colors, which is a third of the size and doesn't show."""
    Image.open(source).convert("RGB").quantize(64).save(target, optimize=True)
    print(f"{target.name}: {target.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
