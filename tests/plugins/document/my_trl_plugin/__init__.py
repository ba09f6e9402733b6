from cw_cli.core.framework import TrainingType
from cw_cli.core.plugins import FrameworkPlugin

from .trl_framework import TRLFramework


class TRLPlugin(FrameworkPlugin):
    @property
    def name(self):
        return "trl-plugin"

    @property
    def version(self):
        return "1.0.0"

    @property
    def description(self):
        return "TRL, from outside."

    def get_framework_class(self):
        return TRLFramework

    def get_supported_training_types(self):
        return [TrainingType.SFT, TrainingType.GRPO]

    def initialize(self, context):
        pass

    def cleanup(self):
        pass


def get_plugin():
    return TRLPlugin()
