"""`python3 -m cw_train RECIPE --config FILE`: starts a recipe, and is the one place where a failure ends."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import sysconfig
import traceback
from types import TracebackType

from cw_train import GaveUpError, Preempted, RefusedError
from cw_train.guard import tell_guard
from cw_train.progress import announce

RECIPES = (
    *("trl_sft", "trl_dpo", "trl_kto", "trl_reward", "trl_distillation", "trl_grpo", "trl_rloo", "trl_rlhf"),
    *("serve_reward", "serve_vllm", "serve_model"),
    *("axolotl_train", "axolotl_preprocess", "axolotl_vllm"),
    *("verifiers_eval", "prime_rl"),
)
# each is a module of this package with `main(config: str) -> None`

FAILED, MISUSED, INTERRUPTED = 1, 2, 130


def main() -> int:
    parser = argparse.ArgumentParser(prog="cw_train", description="Run a training recipe.")
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--config", required=True, metavar="FILE", help="the recipe's settings, a YAML file")
    arguments = parser.parse_args()
    try:
        importlib.import_module(f"cw_train.{arguments.recipe}").main(arguments.config)
    except Preempted as leaving:
        if os.environ.get("RANK", "0") == "0":  # torchrun's; all ranks leave at the same step
            announce({"event": "preempted", "step": leaving.step})
        raise
    except RefusedError as refusal:
        tell_guard("ended")  # another attempt would be refused too
        return end_with(one_line(refusal), MISUSED)
    except GaveUpError as failure:
        return end_with(one_line(failure), FAILED)
    except KeyboardInterrupt:
        return end_with("interrupted", INTERRUPTED)
    except Exception as failure:  # the boundary: whatever went wrong, the last line says it in one sentence
        traceback.print_exc()
        return end_with(f"{type(failure).__name__}: {one_line(failure)} ({origin(failure.__traceback__)})", FAILED)
    tell_guard("ended")
    return 0


def end_with(sentence: str, code: int) -> int:
    rank = os.environ.get("RANK")  # set by torchrun; every rank that fails says so
    announce({"event": "failed", "error": sentence} | ({"rank": int(rank)} if rank else {}))
    sys.stdout.flush()
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    return code


def one_line(problem: BaseException, limit: int = 600) -> str:
    text = " ".join(str(problem).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def origin(trace: TracebackType | None) -> str:
    """`file:line` of the innermost frame that is neither Python's nor an installed library's."""
    paths = sysconfig.get_paths()
    installed = tuple(paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))
    frames = traceback.extract_tb(trace)
    ours = [frame for frame in frames if not frame.filename.startswith((*installed, "<"))]
    frame = (ours or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"


if __name__ == "__main__":
    sys.exit(main())
