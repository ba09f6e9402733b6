"""Whatever a plugin does wrong is reported by its name and line, and stops no other command."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from .conftest import JOB, User, plugin

MINE = ("small", "distill", "config.yaml", "--dry-run", "-o", "name")


def works(cw: User) -> None:
    """Other commands, as if the plugin were not there."""
    (cw.home / "other.yaml").write_text("model_name: owner/model\ndataset_name: owner/data\n")
    done = cw("--help")
    assert done.code == 0, done.err
    done = cw("trl", "sft", "other.yaml", "--dry-run", "-o", "name")
    assert done.code == 0 and "job/cw-trl-train-sft-other-" in done.out
    assert "small" not in done.err


def state(cw: User, name: str = "small") -> tuple[str, str]:
    """What `cw plugins` says of it."""
    rows = json.loads(cw("plugins", "-o", "json").out)
    row = next(row for row in rows if row["name"] == name)
    return row["state"], row["problem"]


def line_of(path: Path, text: str) -> str:
    number = next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)
    return f"{path}:{number}"


def test_a_plugin_that_works(cw: User) -> None:
    cw.has(plugin())
    assert cw(*MINE).code == 0
    works(cw)
    assert state(cw) == ("ready", "")


BROKEN = {
    "an import that fails": (("from pathlib import Path", "import nothing_of_this_name"), "ModuleNotFoundError"),
    "a mistake in its code": (('version = "1.2.3"', "version = = 3"), "invalid syntax"),
    "an error while it is imported": (('version = "1.2.3"', "version = 1 / 0"), "ZeroDivisionError"),
    "sys.exit": (("def get_plugin():", "raise SystemExit(3)\ndef get_plugin():"), "it calls sys.exit(3)"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_it_breaks_while_it_is_imported(kind: str, cw: User) -> None:
    change, said = BROKEN[kind]
    path = cw.has(plugin("small", change))
    works(cw)
    done = cw(*MINE)
    assert done.code == 1 and "the plugin small" in done.err and said in done.err
    assert line_of(path / "__init__.py", change[1].splitlines()[0]) in done.err
    found, problem = state(cw)
    assert found == "broken" and said in problem


CONTRACT = {
    "no get_plugin": (("def get_plugin():", "def another():"), "has no function get_plugin()"),
    "the wrong type": (("    return Plugin()", "    return 7"), "gives a int from get_plugin(), not a FrameworkPlugin"),
    "an abstract plugin": (
        ("    def get_framework_class(self):\n        return Framework\n", ""),
        "get_framework_class",
    ),
    "an abstract framework": (
        ('    def get_job_name(self, training_type):\n        return "small"\n', ""),
        "lacks get_job_name",
    ),
    "a framework of another kind": (
        ("        return Framework\n", "        return dict\n"),
        "no class of a BaseTrainingFramework",
    ),
    "no types": (('[TrainingType("distill")]', "[]"), "supports no training type"),
    "a type that cannot be typed": (
        ('TrainingType("distill")', 'TrainingType("di still")'),
        "no name of a training type",
    ),
    "a version that is no text": (('version = "1.2.3"', "version = 3"), "has the version 3"),
    "an init of its own": (('super().__init__("whatever", kubeconfig_dir)', "pass"), "does not call super().__init__"),
}


@pytest.mark.parametrize("kind", CONTRACT)
def test_it_breaks_the_contract(kind: str, cw: User) -> None:
    change, said = CONTRACT[kind]
    cw.has(plugin("small", change))
    works(cw)
    done = cw(*MINE)
    assert done.code == 1 and "the plugin small" in done.err and said in done.err
    assert state(cw)[0] == "broken"


HOOKS = {
    "validate_config": "        return True\n",
    "prepare_config": "        return dict(config_data)\n",
    "get_configmap_name": '        return "small-config"\n',
    "get_job_name": '        return "small"\n',
    "get_yaml_templates": '        return [self.kubeconfig_dir / "job.yaml"]\n',
}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_raises(hook: str, cw: User) -> None:
    path = cw.has(plugin("small", (HOOKS[hook], "        return {}['nothing']\n")))
    works(cw)
    done = cw(*MINE)
    assert done.code == 1
    place = line_of(path / "__init__.py", "return {}['nothing']")
    assert f"the plugin small failed in {hook}: KeyError: 'nothing' ({place})" in done.err


@pytest.mark.parametrize(("hook", "contract"), [("get_job_name", "a name"), ("validate_config", "True or False")])
def test_a_hook_returns_something_else(hook: str, contract: str, cw: User) -> None:
    cw.has(plugin("small", (HOOKS[hook], "        return None\n")))
    done = cw(*MINE)
    assert done.code == 1 and f"the plugin small returned None from {hook}, which gives {contract}" in done.err


def test_a_hook_that_ends_python_does_not(cw: User) -> None:
    cw.has(plugin("small", (HOOKS["prepare_config"], "        import sys; sys.exit('bye')\n")))
    done = cw(*MINE)
    assert done.code == 1 and "it calls sys.exit('bye')" in done.err


def test_a_check_that_fails_while_it_is_read(cw: User) -> None:
    own = (
        "    def cross_checks(self, config, keys, training_type):\n        yield None\n        raise OSError('gone')\n"
    )
    cw.has(plugin("small", ("\n\nclass Plugin(", f"\n{own}\n\nclass Plugin(")))
    assert "the plugin small failed in cross_checks: OSError: gone" in cw(*MINE).err


def test_a_value_that_the_plugin_refuses(cw: User) -> None:
    refusal = "        raise ValueError('temperature is too high')\n"
    cw.has(plugin("small", (HOOKS["validate_config"], refusal)))
    done = cw(*MINE)
    assert done.code == 1 and "the plugin small does not accept this config: ValueError: temperature is" in done.err


@pytest.mark.parametrize("method", ["initialize(self, context)", "cleanup(self)"])
def test_beginning_and_end_fail(method: str, cw: User) -> None:
    own = f"    def {method}:\n        raise RuntimeError('no licence')\n\n    def get_framework_class("
    cw.has(plugin("small", ("    def get_framework_class(", own)))
    works(cw)
    done = cw(*MINE)
    name = method.partition("(")[0]
    assert f"the plugin small failed in {name}: RuntimeError: no licence" in done.err
    assert done.code == (1 if name == "initialize" else 0)


def test_it_is_told_where_it_is_and_cleans_up_once(cw: User) -> None:
    own = (
        "    def initialize(self, context):\n        self.told = context\n\n"
        "    def cleanup(self):\n        print('told', self.told)\n\n"
    )
    path = cw.has(plugin("small", ("    def get_framework_class(", f"{own}    def get_framework_class(")))
    said = cw(*MINE).err
    assert said.count("told PluginContext(version=") == 1 and f"kubeconfig_dir={path / 'kubeconfigs'!r}" in said


def test_a_slow_import(cw: User) -> None:
    cw.has(plugin("small", ("from pathlib import Path", "from pathlib import Path\nimport time; time.sleep(1.5)")))
    began = time.monotonic()
    for words in (["--help"], ["small", "--help"], ["version"]):
        assert cw(*words).code == 0
    assert time.monotonic() - began < 4.5
    found, problem = state(cw)
    assert found == "slow" and "takes 1." in problem


def test_it_prints_while_it_is_imported(cw: User) -> None:
    cw.has(plugin("small", ("from pathlib import Path", "from pathlib import Path\nprint('hello from small')")))
    works(cw)
    done = cw("small", "distill", "config.yaml", "--dry-run", "-o", "json")
    assert json.loads(done.out)["items"] and "hello from small" in done.err
    assert state(cw)[0] == "prints"


def test_it_ends_python_for_good(cw: User) -> None:
    cw.has(plugin("small", ("def get_plugin():", "import os; os._exit(7)\ndef get_plugin():")))
    works(cw)
    found, problem = state(cw)
    assert found == "broken" and "ended Python with exit code 7" in problem


def test_two_of_one_name_name_both_places(cw: User) -> None:
    first, second = cw.has(plugin("twin"), "one"), cw.has(plugin("twin"), "two")
    done = cw("twin", "distill", "config.yaml", "--dry-run")
    assert done.code == 1 and f"two plugins are called twin: {first} and {second}" in done.err
    works(cw)
    rows = [row for row in json.loads(cw("plugins", "-o", "json").out) if row["name"] == "twin"]
    assert [row["state"] for row in rows] == ["refused", "refused"]
    assert str(second) in rows[0]["problem"] and str(first) in rows[1]["problem"]


def test_a_built_in_framework_is_replaced_only_by_the_settings(cw: User) -> None:
    path = cw.has(plugin("trl"))
    (cw.home / "other.yaml").write_text("model_name: owner/model\ndataset_name: owner/data\n")
    done = cw("trl", "sft", "other.yaml", "--dry-run", "-o", "name")
    assert done.code == 0 and "job/cw-trl-train-sft-other-" in done.out
    assert f"warning: the plugin in {path} is called like a built-in framework, which is used" in done.err
    assert "TRL: " in cw("--help").out
    rows = [row for row in json.loads(cw("plugins", "-o", "json").out) if row["name"] == "trl"]
    assert [row["state"] for row in rows] == ["ready", "refused"] and "replace: [trl]" in rows[1]["problem"]
    (cw.home / "settings.yaml").write_text("plugins: {replace: [trl]}\n")
    done = cw("trl", "distill", "config.yaml", "--dry-run", "-o", "name", CW_SETTINGS="settings.yaml")
    assert done.code == 0 and "job/small-" in done.out
    assert "A small plugin." in cw("--help", CW_SETTINGS="settings.yaml").out


def test_a_verb_is_never_replaced(cw: User) -> None:
    cw.has(plugin("list"))
    assert cw("list").code == 0
    assert "list TYPE CONFIG" not in cw("--help").out
    assert state(cw, "list") == ("refused", f"{cw.plugins / 'small'}: cw list is a command of cw itself")


@pytest.mark.parametrize("what", ["", "__init__.py", "kubeconfigs", "kubeconfigs/job.yaml", "/.."])
@pytest.mark.parametrize(("mode", "who"), [(0o002, "everybody"), (0o020, "the group")])
def test_what_others_can_write_to_is_refused(what: str, mode: int, who: str, cw: User) -> None:
    folder = cw.has(plugin())
    path = cw.plugins if what == "/.." else folder / what
    if os.getgid() == os.getuid() and mode == 0o020:
        os.chown(path, -1, 12345)  # a group with nobody known in it, not one's own
    path.chmod(path.stat().st_mode | mode)
    done = cw(*MINE)
    assert done.code == 1 and f"the plugin small is refused: {path} can be changed by {who}" in done.err
    assert f"chmod -R go-w {path}" in done.err
    works(cw)
    assert state(cw)[0] == "broken"
    path.chmod(path.stat().st_mode & ~0o022)
    assert cw(*MINE).code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_somebody_else_is_refused(cw: User) -> None:
    path = cw.has(plugin()) / "__init__.py"
    os.chown(path, 12345, -1)
    assert f"the plugin small is refused: {path} belongs to user 12345" in cw(*MINE).err
    os.chown(path, 0, -1)


def test_a_link_to_what_others_can_write_to_is_refused(cw: User, tmp_path: Path) -> None:
    folder = cw.has(plugin())
    elsewhere = tmp_path / "shared"
    elsewhere.mkdir()
    (folder / "__init__.py").rename(elsewhere / "code.py")
    (folder / "__init__.py").symlink_to(elsewhere / "code.py")
    assert cw(*MINE).code == 0
    (elsewhere / "code.py").chmod(0o666)
    assert f"{elsewhere / 'code.py'} can be changed by everybody" in cw(*MINE).err


def test_everything_starts_without_plugins(cw: User) -> None:
    cw.has(plugin())
    assert "small" not in cw("--help", CW_DISABLE_PLUGINS="1").out
    done = cw(*MINE, CW_DISABLE_PLUGINS="1")
    assert done.code == 2 and "there is no command small" in done.err and "CW_DISABLE_PLUGINS is set" in done.err
    assert "note: CW_DISABLE_PLUGINS is set" in cw("plugins", CW_DISABLE_PLUGINS="1").err
    assert cw(*MINE, CW_DISABLE_PLUGINS="0").code == 0


def test_a_name_that_only_the_code_knows(cw: User) -> None:
    cw.has(plugin("small", ('name = "small"', 'name = "".join(["com", "puted"])')))
    assert "small TYPE CONFIG" in cw("--help").out
    assert cw("computed", "distill", "config.yaml", "--dry-run", "-o", "name").code == 0
    assert "computed TYPE CONFIG" in cw("--help").out  # it is known from now on
    assert "there is no command small" in cw(*MINE).err


def test_a_folder_without_code_is_reported(cw: User) -> None:
    (cw.plugins / "empty").mkdir(parents=True)
    works(cw)
    found, problem = state(cw, "empty")
    assert found == "broken" and "has no __init__.py" in problem


def test_a_notebook_that_is_broken_or_cannot_be_kept(cw: User) -> None:
    cw.has(plugin())
    (cw.home / ".cache" / "cw").mkdir(parents=True)
    (cw.home / ".cache" / "cw" / "plugins.json").write_text('{"a": 1, "b"')
    assert "small TYPE CONFIG" in cw("--help").out
    assert "small TYPE CONFIG" in cw("--help", XDG_CACHE_HOME="/dev/null/nowhere").out


def test_a_template_that_is_one_level_too_high(cw: User) -> None:
    path = cw.has(plugin()) / "kubeconfigs" / "job.yaml"
    mount = "          volumeMounts: [{name: config, mountPath: /config}]\n"
    assert mount in JOB
    path.write_text(JOB.replace(mount, mount[4:]))
    done = cw("small", "distill", "config.yaml", "--dry-run", "-o", "json")
    assert f"{path}:11:7: warning: volumeMounts stands beside `containers`" in done.err
    (job,) = [item for item in json.loads(done.out)["items"] if item["kind"] == "Job"]
    pod = job["spec"]["template"]["spec"]
    assert (
        "volumeMounts" not in pod and {"name": "config", "mountPath": "/config"} in pod["containers"][0]["volumeMounts"]
    )
    path.write_text(
        JOB.replace(mount, mount[4:]).replace(
            "        - name: trainer", "        - {name: other}\n        - name: trainer"
        )
    )
    done = cw(*MINE)
    assert done.code == 1 and f"{path}:12:7: volumeMounts stands beside `containers`" in done.err
