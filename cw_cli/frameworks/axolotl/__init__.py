"""Axolotl: its framework, and what it accepts without a word although no training can come of it."""

from __future__ import annotations

from cw_cli.core.plugins import FrameworkPlugin


def get_plugin() -> FrameworkPlugin:
    from cw_cli.frameworks import BuiltInPlugin
    from cw_cli.frameworks.axolotl.framework import AxolotlFramework

    return BuiltInPlugin("axolotl", AxolotlFramework)
