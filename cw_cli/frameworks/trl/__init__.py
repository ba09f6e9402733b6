"""TRL: its framework, and what its configs may hold beyond what its dataclasses say."""

from __future__ import annotations

from cw_cli.core.plugins import FrameworkPlugin


def get_plugin() -> FrameworkPlugin:
    from cw_cli.frameworks import BuiltInPlugin
    from cw_cli.frameworks.trl.framework import TRLFramework

    return BuiltInPlugin("trl", TRLFramework)
