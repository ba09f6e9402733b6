"""What a framework is: how a kind of training is configured, checked, rendered and launched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from cw_cli.core.resources import Resources

if TYPE_CHECKING:
    from cw_cli.core.config import Config
    from cw_cli.core.launch_keys import LaunchKeys
    from cw_cli.core.problems import KeyPath, Problem


class TrainingType(str):
    """The name of a kind of training, as it is typed on the command line.

    The constants are the common ones; a framework may declare any other: `TrainingType("distill")`.
    """

    SFT: ClassVar[TrainingType]
    GRPO: ClassVar[TrainingType]
    EVAL: ClassVar[TrainingType]

    @property
    def value(self) -> str:
        return str(self)


class LocalCommand(NamedTuple):
    """How a trainer is started on this machine."""

    argv: tuple[str, ...]
    """The command line; `python3` is the Python that runs cw."""
    modules: tuple[str, ...] = ()
    """Python modules without which it cannot run."""


TrainingType.SFT = TrainingType("sft")
TrainingType.GRPO = TrainingType("grpo")
TrainingType.EVAL = TrainingType("eval")


class BaseTrainingFramework(ABC):
    """One framework. The abstract methods are the contract; everything below them has a default.

    `config_data` is the user's config as plain data, overrides applied, cw's own keys included.
    """

    output_key: ClassVar[str] = "output_dir"
    """The key of the config that says where the trainer writes."""

    version: str = ""
    """Of the plugin that brings the framework, for the record of a run; empty for built-in ones. cw sets it, and the
    name as well."""

    title: str = ""
    """How messages speak of it, as in `the plugin my-trainer 1.0.0`; cw sets it."""

    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Training types that people look for here and that it does not have: a sentence for each, with what to do."""

    def __init__(self, name: str, kubeconfig_dir: Path) -> None:
        self.name = name
        self.kubeconfig_dir = kubeconfig_dir

    @abstractmethod
    def validate_config(self, config_data: dict[str, Any], training_type: TrainingType) -> bool:
        """Whether the config can be trained; the last check, after the schema and `cross_checks`."""

    @abstractmethod
    def prepare_config(self, config_data: dict[str, Any]) -> dict[str, Any]:
        """The config as the container shall see it, without the keys that are for the launch only."""

    @abstractmethod
    def get_configmap_name(self, training_type: TrainingType) -> str:
        """Name under which the templates mount the config; each run gets one of its own."""

    @abstractmethod
    def get_job_name(self, training_type: TrainingType) -> str:
        """Name of the trainer's Job in the templates; the run's name begins with it."""

    @abstractmethod
    def get_yaml_templates(self, training_type: TrainingType) -> list[Path]:
        """The template files, static YAML or Jinja."""

    @abstractmethod
    def get_default_image(self) -> str:
        """The image of a container for which neither the user nor the template names one."""

    def get_training_types(self) -> Sequence[TrainingType]:
        """What this framework can run."""
        return (TrainingType.SFT,)

    def template_images(self, training_type: TrainingType) -> Mapping[str, str]:
        """The images that its templates name themselves, by role; `trainer` is the run's own container."""
        return {}

    def get_schema(self, training_type: TrainingType) -> Any:
        """The keys that a config may hold: a `Schema`, a JSON Schema as a dict, a pydantic model class or a dataclass.

        None accepts all keys. Whoever asks gets a `Schema` or None: see `cw_cli.core.offered_schema`.
        """
        return None

    def schema_of_image(self, training_type: TrainingType, image: str) -> Any:
        """The keys where a config names `image`, if that is known to hold other versions than `get_schema` means."""
        return self.get_schema(training_type)

    def cross_checks(self, config: Config, keys: LaunchKeys, training_type: TrainingType) -> list[Problem]:
        """Mistakes that only show when several keys, files and the resources are seen together."""
        return []

    def target_checks(self, config: Config, training_type: TrainingType, target: str) -> list[Problem]:
        """What is to be said of a config on one target alone, `kubernetes` or `local`."""
        return []

    def default_resources(self, config: Config, gpu: int | None) -> Resources:
        """What the trainer takes where neither user nor template says; `gpu` is what the user said, if anything."""
        return Resources()

    def service_resources(self, role: str, config: Config, gpu: int) -> Resources:
        """What each replica of a service takes where neither user nor template says; `gpu` is what the trainer has."""
        return Resources()

    def defaults_without_gpu(self) -> dict[str, Any]:
        """Keys that a config needs in order to train on the processor, for those that it does not set."""
        return {}

    def recipes(self) -> Path | Sequence[Path] | None:
        """Python packages (the path of one, or several) that travel with every run and can be imported there; None
        when the image has it all."""
        return None

    def template_variables(self, config: Config, training_type: TrainingType) -> Mapping[str, Any]:
        """What the templates may use beside cw's own `run`, `job`, `nodes`, `gpu` and `processes`."""
        return {}

    def template_folders(self) -> Sequence[Path]:
        """Folders whose files a template may `{% include %}`."""
        return (self.kubeconfig_dir,)

    def local_command(self, training_type: TrainingType, argv: tuple[str, ...]) -> LocalCommand:
        """How the trainer starts on this machine; `argv` is what the template says for a container."""
        return LocalCommand(argv)

    def file_keys(self, config: Config, training_type: TrainingType) -> Sequence[KeyPath]:
        """Where the config may name files and folders beside it; `"*"` stands for any key or index."""
        return ()

    def example(self, training_type: TrainingType) -> str:
        """A commented, minimal config that runs as it is, for `cw init`."""
        return ""
