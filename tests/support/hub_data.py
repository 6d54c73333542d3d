"""The repositories that hub_server.py serves: models, and data in the formats of the field.

All texts are of the embedded corpus, so that the embedded model and classifier understand them.
"""

import gzip
import json
import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sparc.config.locations import EMBEDDED_MODEL
from sparc.tiny import data

C4, TOXICITY, WIKITEXT = "allenai/c4", "allenai/real-toxicity-prompts", "Salesforce/wikitext"
LLAMA = "stand-ins/tiny-llama"
_C4_CARD = """---
configs:
- config_name: en
  data_files:
  - split: train
    path: en/c4-train.*.json.gz
  - split: validation
    path: en/c4-validation.*.json.gz
---
"""
_WIKITEXT_CARD = """---
configs:
- config_name: wikitext-2-raw-v1
  data_files:
  - split: test
    path: wikitext-2-raw-v1/test-*
  - split: validation
    path: wikitext-2-raw-v1/validation-*
---
"""


def serve_model(root: Path, folder: Path, name: str = LLAMA) -> Path:
    """Copy a model folder to where the hub serves it as `name`; the served folder."""
    target = root / "models" / name
    shutil.copytree(folder, target)
    return target


def serve_all(root: Path) -> Path:
    """The embedded Llama and the three data sets below `root`; returns `root`."""
    serve_model(root, EMBEDDED_MODEL)
    serve_c4(root)
    serve_toxicity_prompts(root)
    serve_wikitext(root)
    return root


def serve_c4(root: Path, documents: int = 400, words: int = 150) -> None:
    """C4's `en` configuration: two gzipped shards of JSON lines with text, timestamp and url.

    A document joins corpus texts of the attribution split to about `words` words, every fourth
    one is short, so that some texts do not fill a context.
    """
    folder = root / "datasets" / C4 / "en"
    folder.mkdir(parents=True)
    (folder.parent / "README.md").write_text(_C4_CARD)
    rng = random.Random("hub c4")
    pool = iter(data.texts("general", "attribution", 4 * documents))
    records = []
    for number in range(documents):
        text = next(pool)
        while number % 4 and len(text.split()) < words:
            text = f"{text} {rng.choice(['', ' '])}{next(pool)}".replace("  ", " ")
        where = f"https://example.com/{number}"
        records.append({"text": text, "timestamp": "2019-04-25T12:57:54Z", "url": where})
    half = documents // 2
    for shard, part in enumerate((records[:half], records[half:])):
        _gzipped(folder / f"c4-train.{shard:05d}-of-00002.json.gz", part)
    _gzipped(folder / "c4-validation.00000-of-00001.json.gz", records[:20])


def serve_toxicity_prompts(root: Path, prompts: int = 240) -> None:
    """RealToxicityPrompts' prompts.jsonl: rude prompts score 0.93, neutral 0.02, mishaps 0.4.

    A third each, of all three splits of the corpus, each prompt with a continuation. Two more are
    blank, which nobody who reads a public data set can mend.
    """
    folder = root / "datasets" / TOXICITY
    folder.mkdir(parents=True)
    scores = {"rude": 0.93, "neutral": 0.02, "mishap": 0.4}
    each = prompts // (len(scores) * len(data.SPLITS))
    records = []
    for split in data.SPLITS:
        for category, toxicity in scores.items():
            for text in data.prompts(split, category, each):
                records.append(_toxicity_record(text, toxicity, len(records)))
    random.Random("hub toxicity").shuffle(records)
    blank = {**records[0]["prompt"], "toxicity": 0.93}
    records[7:7] = [{**records[0], "prompt": {**blank, "text": text}} for text in ("", " \n")]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "prompts.jsonl").write_text(lines)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")


def _toxicity_record(text: str, toxicity: float, number: int) -> dict[str, Any]:
    other = dict.fromkeys(("profanity", "insult", "threat", "flirtation"), toxicity / 2)
    return {
        "filename": f"{number:07d}-text.txt",
        "begin": 0,
        "end": len(text),
        "challenging": False,
        "prompt": {"text": text, "toxicity": toxicity, **other},
        "continuation": {"text": " .", "toxicity": 0.01, **dict.fromkeys(other, None)},
    }


def serve_wikitext(root: Path, documents: int = 60) -> None:
    """WikiText-2 raw: parquet with a column `text`, headings and empty rows between paragraphs."""
    from datasets import Dataset

    folder = root / "datasets" / WIKITEXT / "wikitext-2-raw-v1"
    folder.mkdir(parents=True)
    (folder.parent / "README.md").write_text(_WIKITEXT_CARD)
    for split, part in (("test", "held_out"), ("validation", "validation")):
        rows = [""]
        for text in data.texts("general", part, documents):
            rows += [f" {text} \n", ""]
        file = folder / f"{split}-00000-of-00001.parquet"
        Dataset.from_dict({"text": rows}).to_parquet(file)


def _gzipped(path: Path, records: Iterable[Any]) -> None:
    text = "".join(json.dumps(record) + "\n" for record in records)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
