"""The user's defaults: where the file lies and what it says."""

from __future__ import annotations

from cw_cli.core.config import Config, parse_config, read_config
from cw_cli.core.exceptions import ConfigError
from cw_cli.core.launch_keys import settings_schema
from cw_cli.core.launch_reader import read_keys
from cw_cli.core.paths import settings_path
from cw_cli.core.problems import errors

__all__ = ["read_settings", "settings_path"]


def read_settings() -> Config:
    """The settings as a config, empty where there is no file. Raises `ConfigError` with all that is wrong in it."""
    path = settings_path()
    if not path.exists():
        return parse_config("", str(path))
    if not path.read_bytes().strip():
        return parse_config("", str(path))
    schema = settings_schema()
    config, problems = schema.canonical(read_config(path))
    problems += schema.check(config)
    if not errors(problems):
        problems += read_keys(config)[1]
    if errors(problems):
        raise ConfigError(f"the settings in {path} have mistakes", problems)
    return config
