"""Which plugins there are and what each says of itself, found without running any of their code."""

from __future__ import annotations

from typing import NamedTuple

from cw_cli.core.plugins.notebook import Notebook, open_notebook, stamp_of
from cw_cli.core.plugins.places import Asked, Place, disabled, places
from cw_cli.core.plugins.words import Words, note_words, words_of


class Discovered(NamedTuple):
    """A plugin as it is found, before its code has run."""

    place: Place
    words: Words

    @property
    def command(self) -> str:
        """The name that the user types; the place's own, as long as the plugin's is not known."""
        return self.words.name or self.place.name


def discover() -> tuple[list[Discovered], Asked]:
    """Every plugin, and what the settings say about plugins; nothing when plugins are disabled."""
    if disabled():
        return [], Asked()
    notebook = open_notebook()
    asked = _asked(notebook)
    found = [Discovered(place, words_of(place, notebook)) for place in places(notebook, asked.folders)]
    notebook.close()
    return found, asked


def remember(place: Place, words: Words) -> None:
    """Keep what the loaded plugin says of itself: it counts for more than what its code seems to say."""
    notebook = open_notebook()
    note_words(place, words, notebook)
    notebook.close()


def _asked(notebook: Notebook) -> Asked:
    """What the settings say; settings with mistakes say nothing here, and every command that reads them says why."""
    from cw_cli.core.exceptions import ConfigError
    from cw_cli.core.paths import settings_path

    path = settings_path()
    try:
        if b"plugins" not in path.read_bytes():
            return Asked()
    except OSError:
        return Asked()

    def read() -> list[list[str]]:
        from cw_cli.core.settings import read_settings

        try:
            settings = read_settings()
        except ConfigError:
            return [[], []]
        folders = settings.get("plugins", "folders") or []
        return [[str(path.parent / folder) for folder in folders], settings.get("plugins", "replace") or []]

    folders, replace = notebook.recall(f"settings in {path}", stamp_of(path), read)
    return Asked(tuple(folders), tuple(replace))
