"""Write one version into all eight distributions: ``python tools/set_version.py 0.2.0``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BESIDE_CORE = ("slurm", "pbs", "lsf", "sge", "flux", "data", "postgres")


def replace(path: Path, pattern: str, new: str) -> None:
    """Replace the one place in the file that the pattern matches."""
    text, count = re.subn(pattern, new, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if count != 1:
        sys.exit(f"{path}: {pattern!r} is there {count} times")
    path.write_text(text, encoding="utf-8")


def main() -> None:
    """Set the version given on the command line."""
    if len(sys.argv) != 2 or not re.fullmatch(r"\d+\.\d+\.\d+\w*", sys.argv[1]):
        sys.exit(__doc__)
    version = sys.argv[1]
    core = ROOT / "reflow-core" / "src" / "reflow" / "__init__.py"
    replace(core, r'^__version__ = ".*"$', f'__version__ = "{version}"')
    for name in BESIDE_CORE:
        path = ROOT / f"reflow-{name}" / "pyproject.toml"
        replace(path, r'^version = ".*"$', f'version = "{version}"')
        replace(path, r'"reflow-core==.*"', f'"reflow-core=={version}"')


if __name__ == "__main__":
    main()
