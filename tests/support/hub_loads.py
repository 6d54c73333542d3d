"""Load models one after the other in a process of its own, which reads HF_ENDPOINT at its start.

`python -m tests.support.hub_loads '[{"path": ..., "revision": ..., "token": ...}, ...]'` prints a
JSON record for each: the error's type and text or the model's fingerprint, and the seconds that it
would have paused between attempts, which are real.
"""

import json
import os
import sys
import time
from typing import Any


def _load(case: dict[str, Any]) -> dict[str, Any]:
    from sparc.config import ModelConfig
    from sparc.errors import UserError
    from sparc.models.model import load_model

    os.environ.pop("HF_TOKEN", None)
    if case.get("token"):
        os.environ["HF_TOKEN"] = case["token"]
    config = ModelConfig(name="model", path=case["path"], revision=case.get("revision"))
    pauses: list[float] = []
    time.sleep = pauses.append
    try:
        found = {"fingerprint": load_model(config, "cpu").fingerprint, "error": ""}
    except UserError as error:
        found = {"fingerprint": "", "error": str(error)}
    return {**found, "pauses": sum(pauses)}


if __name__ == "__main__":
    print(json.dumps([_load(case) for case in json.loads(sys.argv[1])]))
