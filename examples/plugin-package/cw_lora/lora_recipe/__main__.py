"""`python3 -m lora_recipe RECIPE --config FILE`."""

from __future__ import annotations

import argparse
import importlib

import yaml
from lora_recipe import settings

RECIPES = {
    "train": settings.Train,
    "distill": settings.Distill,
    "teacher": settings.Distill,  # the service beside it
    "merge": settings.Merge,
}

parser = argparse.ArgumentParser(prog="lora_recipe")
parser.add_argument("recipe", choices=RECIPES)
parser.add_argument("--config", required=True)
chosen = parser.parse_args()
with open(chosen.config, encoding="utf-8") as file:
    config = RECIPES[chosen.recipe](**yaml.safe_load(file))
importlib.import_module(f"lora_recipe.{chosen.recipe}").main(config)
