"""Verifiers: its framework, what its eval configs may hold beyond what its models say, and prime-rl's."""

from __future__ import annotations

from cw_cli.core.plugins import FrameworkPlugin


def get_plugin() -> FrameworkPlugin:
    from cw_cli.frameworks import BuiltInPlugin
    from cw_cli.frameworks.verifiers.framework import VerifiersFramework

    return BuiltInPlugin("verifiers", VerifiersFramework)
