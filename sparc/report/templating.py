"""What every page of reports is made with: templates, inlined assets, a security policy."""

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from sparc.display import numbers
from sparc.display.plain import visible


@cache
def environment() -> Environment:
    """Jinja2 that escapes everything, spells out what is invisible and refuses unknown names."""
    made = Environment(
        loader=PackageLoader("sparc.report"),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"visible": visible, "duration": numbers.duration}
    return made


@cache
def asset(name: str) -> str:
    """A style sheet or script of the templates folder, to be inlined."""
    return (files("sparc.report") / "templates" / name).read_text(encoding="utf-8")


def policy(style: str, script: str) -> str:
    """Content security policy: this style and this script by their hashes, and nothing else."""

    def hashed(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; style-src 'sha256-{hashed(style)}'; "
        f"script-src 'sha256-{hashed(script)}'; base-uri 'none'; form-action 'none'"
    )
