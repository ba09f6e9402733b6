"""Configs for verifiers and prime-rl in the shapes of those that their authors publish: their keys and kinds of value,
in our words, with what cw says of them.

Of 44 published evaluations, 25 are taken. Of the rest, 10 are prime-rl's own eval, 7 hold keys that verifiers 0.4 has
dropped without another, or moved in a way that a role decides, and 2 are of before 0.2, whose environments are gone.
Of 36 published trainings, 18 are taken. Of the rest, 9 are laid out for SLURM, 2 send weights from GPU to GPU, 6 are of
trainers that are gone or somebody else's, and one is no reinforcement learning.
"""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """A config, what it is for, and how each sentence about it begins; `*` is a warning."""

    kind: str
    text: str
    says: tuple[str, ...] = ()
    of: int = 1
    """How many of the published configs that were looked at have this shape."""

    @property
    def taken(self) -> bool:
        return all(sentence.startswith("*") for sentence in self.says)


IMAGE = "*env.taskset.id: no folder beside the config is called"
"""Tasksets of a package that the image must have."""

MOVES = "*the image primeintellect/prime-rl:main changes"

LIMIT = "*num_tasks is called select.limit in Verifiers 0.4.0"
TASKSET = "*taskset is called env.taskset"
HARNESS = "*harness is called env.agent.harness"
RUNTIME = "*harness.runtime is called env.agent.runtime"

EVALS = {
    "a program in a container, and a price for each token": Shape(
        "eval",
        """
model = "owner/model"
[sampling]
temperature = 1.0
[env.taskset]
id = "owner/games"
[env.agent.harness]
id = "codex"
version = "1.2.3"
disabled_tools = ["shell"]
skills = ["skills/search"]
[env.agent.runtime]
type = "docker"
allow = ["https://*.example.org"]
""",
        (IMAGE, "*the runtime docker starts containers"),
        of=2,
    ),
    "hosts that may be asked": Shape(
        "eval",
        """
model = "owner/model"
[env.taskset]
id = "harbor"
[env.agent.runtime]
type = "prime"
vm = true
allow = ["*.example.org", "1.1.1.1"]
""",
        ("*the runtime prime is a cloud service", "env.agent.runtime has no key vm"),
    ),
    "a game": Shape(
        "eval",
        """
model = "owner/model"
num_rollouts = 2
max_concurrent = "None"
[select]
limit = 10
shuffle = true
[select.include]
idx = "0:10,17"
[sampling]
temperature = 0.7
max_tokens = 4096
top_k = 20
extra_body = {min_p = 0.1}
[env]
max_concurrent_agents = 1
[env.interception]
type = "elastic"
multiplex = 32
[env.taskset]
id = "textarena"
game = "Wordle-v0"
[env.agent]
max_turns = 15
[env.agent.timeout]
setup = 300
""",
    ),
    "several attempts": Shape(
        "eval",
        """
model = "owner/model"
group_size = 3
select.limit = 20
select.shuffle = true
[env]
id = "best-of-n"
n = 8
taskset.id = "textarena"
agent.harness.id = "null"
agent.runtime.type = "subprocess"
agent.retries.max_retries = 2
agent.timeout.rollout = 3600
""",
    ),
    "a user who is a model": Shape(
        "eval",
        """
model = "owner/model"
[env]
id = "user-sim"
persona = "in a hurry"
[env.taskset]
id = "textarena"
[env.user]
model = "owner/other"
[env.user.client]
base_url = "https://host/v1"
""",
    ),
    "a judge beside the solver": Shape(
        "eval",
        """
model = "owner/model"
[env]
id = "agentic-judge"
[env.taskset]
id = "textarena"
[env.solver.harness]
id = "bash"
[env.solver.runtime]
type = "podman"
[env.judge]
model = "owner/judge"
[env.score]
task_weight = 0.5
""",
        ("*the runtime podman starts containers",),
    ),
    "verifiers 0.3, its own environment": Shape(
        "eval",
        """
model = "owner/model"
num_tasks = 5
num_rollouts = 2
[env.taskset]
id = "textarena"
game = "Hangman-v0"
[env.agent]
max_turns = 4
[env.agent.harness]
id = "null"
""",
        (LIMIT,),
        of=6,
    ),
    "verifiers 0.3, the runtime inside the harness": Shape(
        "eval",
        """
model = "owner/model"
num_tasks = 5
[env]
id = "agentic-judge"
[env.taskset]
id = "textarena"
[env.solver.harness]
id = "bash"
[env.solver.harness.runtime]
type = "docker"
""",
        (
            LIMIT,
            "env.solver.harness has no key runtime when its id is bash",
            "*the runtime docker starts containers",
        ),
        of=2,
    ),
    "verifiers 0.3, a program without a container": Shape(
        "eval",
        """
model = "owner/model"
num_tasks = 5
[env.taskset]
id = "textarena"
[env.agent.harness]
id = "rlm"
version = "main"
""",
        (LIMIT, "the harness rlm works in a container alone"),
    ),
    "verifiers 0.3, keys that a program has lost": Shape(
        "eval",
        """
model = "owner/model"
num_tasks = 5
rich = false
[env.taskset]
id = "textarena"
[env.agent]
max_total_tokens = 20000
[env.agent.harness]
id = "prime_agent"
tarball_url = "https://host/agent.tgz"
[env.agent.runtime]
type = "prime"
vm = true
idle_timeout = 1200
""",
        (
            LIMIT,
            "*rich is not used",
            "env.agent.harness has no key tarball_url when its id is prime_agent",
            "*the runtime prime is a cloud service",
            "env.agent.runtime has no key vm",
        ),
    ),
    "verifiers 0.2": Shape(
        "eval",
        """
model = "owner/model"
num_tasks = 5
max_turns = 8
[taskset]
id = "textarena"
[harness]
id = "bash"
runtime = {type = "docker"}
""",
        (LIMIT, "*max_turns is called env.agent.max_turns", TASKSET, HARNESS, RUNTIME, "*the runtime docker starts"),
        of=13,
    ),
    "verifiers 0.2, with limits for all": Shape(
        "eval",
        """
model = "owner/model"
[timeout]
rollout = 28800
[retries.rollout]
max_retries = 1
[topology]
id = "judged"
[topology.taskset]
id = "textarena"
""",
        (
            "timeout is a mapping",
            "retries is a mapping",
            "topology no longer exists",
            "env is missing",
        ),
        of=2,
    ),
    "verifiers 0.1": Shape(
        "eval",
        """
model = "owner/model"
endpoints_path = "../endpoints.toml"
save_results = true
rollouts_per_example = 3
[[eval]]
env_id = "owner/sums"
num_examples = 5
""",
        ("endpoints_path no longer exists", "save_results no longer exists", "eval no longer exists", "env is missing"),
        of=2,
    ),
    "prime-rl's own eval": Shape(
        "eval",
        """
model = "owner/model"
num_examples = 5
group_size = 3
dashboard = false
[concurrency]
max_inflight = 8
[client]
base_url = "http://localhost:8000/v1"
[sampling]
max_completion_tokens = 512
[[source]]
name = "sums"
env.taskset.id = "sums"
env.agent.harness.id = "null"
""",
        (
            "num_examples no longer exists",
            "dashboard no longer exists",
            "concurrency no longer exists",
            "*localhost is the machine",
            "source no longer exists",
            "env is missing",
        ),
        of=10,
    ),
}

START = """
max_steps = 20
seq_len = 2048
[model]
name = "owner/model"
[trainer.optim]
lr = 3e-6
[orchestrator]
batch_size = 128
group_size = 16
[orchestrator.train.sampling]
max_completion_tokens = 128
"""

PLAYED = """
[[orchestrator.train.env]]
name = "words"
env.taskset = { id = "words" }
env.agent.harness = { id = "null", runtime = { type = "subprocess" } }
"""

SOURCE = """
[[orchestrator.train.source]]
name = "words"
curriculum = { gates = { zero_advantage = { type = "advantage_range" } } }
env.taskset.id = "words"
env.agent.harness.id = "null"
env.agent.runtime.type = "subprocess"
"""

TRAININGS = {
    "one environment": Shape("grpo", START + PLAYED + "[ckpt]\n[inference]\n", (MOVES,), of=2),
    "a taskset beside its harness": Shape(
        "grpo",
        START
        + """
[[orchestrator.train.env]]
name = "words"
taskset = { id = "words", min_turns = 3, task = { power = false } }
harness = { id = "null", runtime = { type = "subprocess" } }
[orchestrator.renderer]
name = "auto"
thinking_retention = "all"
[ckpt]
resume_step = 15
[weight_broadcast]
type = "filesystem"
[trainer.model]
impl = "auto"
[trainer.model.ac]
freq = 1
[trainer.model.lora]
rank = 32
alpha = 64
[wandb]
project = "words"
[inference]
""",
        (MOVES,),
        of=4,
    ),
    "evaluated between steps": Shape(
        "grpo",
        START
        + PLAYED
        + """
[deployment]
num_train_gpus = 4
num_infer_gpus = 4
[orchestrator.eval]
interval = 50
[[orchestrator.eval.env]]
name = "sums"
group_size = 32
taskset = { id = "sums" }
harness = { id = "null", runtime = { type = "subprocess" } }
[inference.model]
max_model_len = 8192
""",
        (MOVES,),
    ),
    "a role that is a player": Shape(
        "grpo",
        START
        + """
[deployment]
num_train_gpus = 2
num_infer_gpus = 6
[[orchestrator.train.env]]
env.taskset = { id = "words" }
env.player.harness = { id = "null", runtime = { type = "subprocess" } }
[trainer]
[inference.parallel]
dp = 6
""".replace("[trainer]\n", ""),
        (MOVES,),
    ),
    "a teacher elsewhere": Shape(
        "grpo",
        START
        + PLAYED
        + """
[orchestrator.algo]
type = "opd"
[orchestrator.algo.teacher]
name = "owner/teacher"
base_url = ["http://localhost:8001/v1"]
[trainer.ckpt.weights]
save_adapter_separately = true
[inference]
gpu_memory_utilization = 0.4
enable_lora = true
""",
        ("*orchestrator.algo.teacher.base_url.0 http://localhost:8001/v1 is the orchestrator itself", MOVES),
        of=2,
    ),
    "an environment of before 0.2": Shape(
        "grpo",
        START
        + """
[[orchestrator.train.env]]
id = "colours"
args = { max_turns = 3, seed = 42 }
[[orchestrator.post_batch_filters]]
type = "zero_advantage"
action = "monitor"
[model.vlm]
vision_encoder_attr = "model.visual"
[deployment]
gpus_per_node = 2
[inference.parallel]
dp = 1
tp = 1
""",
        (MOVES,),
    ),
    "sources": Shape(
        "grpo",
        START
        + SOURCE
        + """
[deployment]
num_train_gpus = 2
num_infer_gpus = 4
[monitors.wandb]
project = "words"
[orchestrator.concurrency]
initial_inflight = 1024
[inference.vllm]
tool_call_parser = "hermes"
tensor_parallel_size = 2
data_parallel_size = 2
""",
        (MOVES,),
        of=4,
    ),
    "several sources, each with an algorithm": Shape(
        "grpo",
        START
        + SOURCE
        + """
[[orchestrator.train.source]]
name = "letters"
[orchestrator.train.source.env.taskset]
id = "letters"
[orchestrator.train.source.algo]
type = "opd"
[orchestrator.train.source.algo.teacher]
name = "owner/teacher"
base_url = "http://localhost:8001/v1"
[orchestrator.eval]
interval = 5
[orchestrator.eval.select]
limit = 128
[[orchestrator.eval.source]]
name = "words"
env.taskset.id = "words"
[inference]
""",
        ("*orchestrator.train.source.1.algo.teacher.base_url http://localhost:8001/v1 is", MOVES),
        of=2,
    ),
    "many machines by SLURM": Shape(
        "grpo",
        START
        + """
[env_vars]
TRITON_CACHE_DIR = "/tmp/triton"
[slurm]
job_name = "words"
partition = "all"
[deployment]
type = "multi_node"
num_train_nodes = 2
num_infer_nodes = 1
num_infer_replicas = 4
[weight_broadcast]
type = "nccl"
timeout = 3600
[[orchestrator.train.source]]
env.taskset.id = "words"
env.agent.harness = { id = "rlm", forward_env = ["SEARCH_KEY"] }
env.agent.runtime = { type = "prime", vm = true, labels = ["words"] }
[inference.parallel]
tp = 8
""",
        (
            "slurm no longer exists",
            "deployment.type multi_node is for SLURM",
            "weight_broadcast.type nccl connects pods directly",
            "*the runtime prime is a cloud service",
            MOVES,
        ),
        of=9,
    ),
    "weights from GPU to GPU": Shape(
        "grpo",
        START + SOURCE + '[weight_broadcast]\ntype = "nccl"\n[inference.vllm]\ngpu_memory_utilization = 0.7\n',
        ("weight_broadcast.type nccl connects pods directly", MOVES),
    ),
    "another server's address": Shape(
        "grpo",
        START
        + SOURCE
        + """
[orchestrator.model.client]
base_url = "http://127.0.0.1:8000/v1"
[weight_broadcast]
type = "nccl"
[inference]
backend = "other"
""",
        ("the run starts the inference server", "weight_broadcast.type nccl connects pods directly", MOVES),
    ),
    "prime-rl of 2025": Shape(
        "grpo",
        """
inference_gpu_ids = [0, 1]
trainer_gpu_ids = [2]
max_steps = 500
[model]
name = "owner/model"
[orchestrator]
batch_size = 512
rollouts_per_example = 16
[orchestrator.sampling]
max_tokens = 4096
[orchestrator.buffer]
online_difficulty_filtering = true
[[orchestrator.env]]
id = "owner/words"
[inference.model]
enable_auto_tool_choice = true
""",
        ("inference_gpu_ids no longer exists", "trainer_gpu_ids no longer exists", MOVES),
        of=2,
    ),
    "prime-rl of 2025, its GPUs left open": Shape(
        "grpo",
        """
max_steps = 100
[ckpt]
[model]
name = "owner/model"
[trainer.model.experimental.lora]
rank = 16
[trainer.weight_broadcast]
adapter_only = true
[orchestrator]
batch_size = 512
lora_name = "r16"
[[orchestrator.env]]
id = "owner/words"
args = { min_turns = 3 }
[inference]
enable_lora = true
""",
        (MOVES,),
    ),
    "verifiers' own trainer": Shape(
        "grpo",
        """
model = "owner/model"
[env]
id = "owner/words"
[inference]
gpus = 1
[inference.args]
enforce_eager = true
[trainer]
gpus = 1
[trainer.args]
max_seq_len = 2048
""",
        (
            "model is the text 'owner/model'",
            "env no longer exists in prime-rl 0.8: what to play stands in",
            "inference.args is of verifiers 0.1",
            "trainer.args is of verifiers 0.1",
            "orchestrator is missing",
            MOVES,
        ),
        of=2,
    ),
    "Prime's hosted training": Shape(
        "grpo",
        """
model = "owner/model"
max_steps = 100
batch_size = 128
rollouts_per_example = 8
[sampling]
max_tokens = 1024
[[env]]
taskset = { id = "words" }
[eval]
interval = 20
""",
        (
            "model is the text 'owner/model'",
            "batch_size no longer exists",
            "rollouts_per_example no longer exists",
            "sampling no longer exists",
            "env no longer exists",
            "eval no longer exists",
            "orchestrator is missing",
            MOVES,
        ),
        of=2,
    ),
    "prime-rl's supervised fine-tuning": Shape(
        "grpo",
        """
max_steps = 10
[ckpt]
[model]
name = "owner/model"
[data]
name = "owner/texts"
[optim]
lr = 2e-5
""",
        (
            "*data is not a key of prime-rl 0.8",
            "*optim is not a key of prime-rl 0.8",
            "orchestrator is missing",
            MOVES,
        ),
    ),
}

SHAPES = EVALS | TRAININGS
