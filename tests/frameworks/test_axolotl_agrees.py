"""What cw says of a config and what Axolotl itself says of it, where Axolotl is installed."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from .axolotl_shapes import SHAPES
from .test_axolotl_checks import BASE, REFUSED, SILENT, kind_of
from .test_axolotl_shapes import folder as folder
from .test_axolotl_shapes import said

# Without an `__init__`, a folder of the same name is no module of this name.
found = importlib.util.find_spec("axolotl")
pytestmark = pytest.mark.skipif(found is None or found.origin is None, reason="Axolotl is not installed")


def axolotl(text: str) -> tuple[dict[str, Any] | None, str]:
    """What Axolotl makes of the config, or why it refuses it."""
    from axolotl.cli.config import prepare_plugins
    from axolotl.integrations.base import PluginManager
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault

    PluginManager.get_instance().plugins.clear()
    values = yaml.safe_load(text)
    values["learning_rate"] = float(values["learning_rate"])
    config = DictDefault(copy.deepcopy(values))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            prepare_plugins(config)
            gpu = {"bf16": True, "fp8": True, "tf32": True, "n_gpu": 1, "compute_capability": "sm_90"}
            found = validate_config(config, capabilities=gpu, env_capabilities={"torch_version": "2.13.0"})
            return found.to_dict(), ""
        except (ValueError, ImportError, DeprecationWarning, NotImplementedError, AttributeError, OSError) as error:
            return None, str(error)


@pytest.mark.parametrize("name", SHAPES)
def test_axolotl_takes_the_published_shapes_too(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    if any(f"\n{key}: " in SHAPES[name].text for key in ("context_parallel_size", "sequence_parallel_degree")):
        pytest.skip("needs ring-flash-attn")
    if name in ("sparse", "grpo-with-a-gym"):
        pytest.skip("the plugin fetches what it needs")
    taken, why = axolotl(SHAPES[name].text)
    assert taken is not None, why


@pytest.mark.parametrize("lines", REFUSED, ids=lambda text: text.splitlines()[-1])
def test_both_refuse(lines: str, folder: Path) -> None:
    assert axolotl(f"{BASE}{lines}\n")[0] is None
    assert any(item.severity == "error" for item in said(kind_of(lines), f"{BASE}{lines}\n", folder, 2))


@pytest.mark.parametrize(("kind", "lines"), SILENT, ids=lambda text: text.splitlines()[-1])
def test_axolotl_takes_what_cw_refuses(kind: str, lines: str, folder: Path) -> None:
    text = f"{BASE}{lines}\n"
    assert axolotl(text)[0] is not None
    assert any(item.severity == "error" for item in said(kind, text, folder, 1))


def test_what_cw_says_axolotl_drops_is_dropped(folder: Path) -> None:
    text = f"{BASE}rl: dpo\n".replace("type: alpaca", "type: chatml.intel\n    ds_type: json\n    name: main")
    taken, why = axolotl(text)
    assert taken is not None, why
    dropped = [item.message for item in said("dpo", text, folder, 1)]
    assert dropped == [f"Axolotl does not read {key} of a dataset for dpo" for key in ("ds_type", "name")]
    assert {"ds_type", "name"}.isdisjoint(taken["datasets"][0])
