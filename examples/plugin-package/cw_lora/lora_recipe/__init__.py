"""The programs that run in the container: `python3 -m lora_recipe train --config FILE`, or another of them.

They travel with each run and are imported there without cw and without the rest of this package.
"""
