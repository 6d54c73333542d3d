"""The README's picture of a sweep: runs a small sweep and photographs its sweep.html.

python scripts/sweep_picture.py      (about four minutes; needs Chromium)
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SWEEP = ROOT / "outputs" / "sweeps" / "readme"
PICTURE = ROOT / "docs" / "sweep.png"
OVERRIDES = (
    "experiment=quick",
    "name=readme",
    "evaluation.prompts=40",
    "evaluation.random_draws=5",
    "pruning.num_neurons=2,4,8,16,32,64",
    "seed=0,1",
)


def main() -> None:
    """Run the sweep and write the picture of its charts."""
    sys.path.insert(0, str(ROOT))
    from tests.support.browser import chromium, opened

    command = [sys.executable, "-m", "sparc", "-m", *OVERRIDES, f"hydra.sweep.dir='{SWEEP}'"]
    subprocess.run(command, cwd=ROOT, check=True)
    PICTURE.parent.mkdir(exist_ok=True)
    with chromium() as browser, opened(browser, SWEEP / "sweep.html", width=1100) as page:
        page.page.locator(".figures").first.screenshot(path=str(PICTURE))
    print(f"wrote {PICTURE.relative_to(ROOT)}, {PICTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
