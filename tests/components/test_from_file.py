"""A saved selection: read as it is, refused in one line where it is not one."""

import json
from pathlib import Path
from typing import Any

import pytest

from sparc.components.from_file import read_selection
from sparc.errors import UserError
from tests.support.micro import NEURONS, micro_model

GOOD = [{"layer": 2, "index": 5, "score": -1.5}, {"layer": 0, "index": NEURONS - 1}]


def _file(folder: Path, content: Any) -> Path:
    path = folder / "neurons.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_file_and_its_run_directory_are_read_in_order(tmp_path: Path) -> None:
    path = _file(tmp_path, GOOD)
    model = micro_model("llama")
    assert read_selection(path, model).indices == [(2, 5), (0, NEURONS - 1)]
    assert read_selection(str(tmp_path), model).indices == [(2, 5), (0, NEURONS - 1)]
    assert read_selection(_file(tmp_path, []), model).indices == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not JSON"),
        ({"layer": 1}, "must be a list"),
        ([*GOOD, 3], r"neurons\[2\] must be"),
        ([{"layer": 1}], r"neurons\[0\] lacks index"),
        ([{"layer": 1, "index": 1.5}], r"neurons\[0\].index must be"),
        ([{"layer": True, "index": 1}], r"neurons\[0\].layer must be"),
        ([*GOOD, GOOD[0]], r"neurons\[2\] lists neuron .* a second time"),
        ([{"layer": 3, "index": 0}], r"neurons\[0\] .* 3 layers of 48 neurons"),
        ([{"layer": 0, "index": NEURONS}], "another model"),
        ([{"layer": -1, "index": 0}], "whole number from 0"),
    ],
)
def test_what_is_no_selection_is_refused(content: Any, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=complaint) as error:
        read_selection(_file(tmp_path, content), micro_model("llama"))
    assert "\n" not in str(error.value) and "neurons.json" in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        read_selection(tmp_path / "nowhere", micro_model("llama"))
