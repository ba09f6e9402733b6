"""Plugins: frameworks that somebody else wrote, as folders of the user's or as installed packages."""

from cw_cli.core.plugins.contract import FrameworkPlugin, PluginContext

__all__ = ["FrameworkPlugin", "PluginContext"]
