"""Scores on disk: a file a site, read when asked for, and never another number."""

from pathlib import Path

import pytest
import torch

from sparc.components.scores import load_scores, save_scores
from sparc.components.selection import listed, lowest
from sparc.components.sites import Site
from sparc.errors import UserError
from tests.support.scored import scored

VALUES = torch.tensor([[3.0, -1.0, 0.5], [2.0, -4.0, 0.0]], dtype=torch.float64)
SITES = [Site(layer, "neurons", (3,)) for layer in range(2)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    per_sample = torch.tensor([1.0, torch.nan, 2.0], dtype=torch.float64)
    save_scores(scored(VALUES, 2, per_sample), tmp_path)
    return tmp_path


def test_what_is_saved_is_read(folder: Path) -> None:
    found = load_scores(folder, "neurons", SITES)
    assert torch.equal(found.stacked(), VALUES)
    assert found.samples == 2 and found.left_out == (1,)
    assert lowest(found, 2).indices == [(1, 1), (0, 1)]


def test_a_site_is_read_when_it_is_asked_for(folder: Path) -> None:
    found = load_scores(folder, "neurons", SITES)
    (folder / "neurons-000.safetensors").unlink()
    assert torch.equal(found[SITES[1]], VALUES[1])
    with pytest.raises(UserError, match="taken away in use"):
        found[SITES[0]]


def test_what_changes_later_is_an_error_and_no_number(folder: Path) -> None:
    found = load_scores(folder, "neurons", SITES)
    path = folder / "neurons-001.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="changed while in use"):
        found[SITES[1]]


def test_a_digest_says_what_is_selected_whatever_the_order() -> None:
    one, same, other = (
        listed("neurons", SITES, indices)
        for indices in ([(0, 1), (1, 2)], [(1, 2), (0, 1)], [(0, 1), (1, 1)])
    )
    assert one.digest == same.digest != other.digest
    assert one.digest != listed("heads", SITES, [(0, 1), (1, 2)]).digest
    assert one.first(1).indices == [(0, 1)] and one.count == 2


@pytest.mark.parametrize("wrong", [(2, 0), (0, 3), (0, -1)])
def test_components_that_are_not_there(wrong: tuple[int, int]) -> None:
    with pytest.raises(LookupError):
        listed("neurons", SITES, [wrong])
