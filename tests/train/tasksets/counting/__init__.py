"""A taskset whose harness needs nothing but Python, so that no package index is asked."""

from __future__ import annotations

import sys

import verifiers.v1 as vf

PROGRAM = """
import json, sys, urllib.request
endpoint, secret, model, prompt = sys.argv[1:]
body = {"model": model, "stream": True, "messages": [{"role": "user", "content": prompt}]}
headers = {"Authorization": "Bearer " + secret, "Content-Type": "application/json"}
request = urllib.request.Request(endpoint + "/chat/completions", json.dumps(body).encode(), headers)
urllib.request.urlopen(request, timeout=60).read()
"""


class CountingData(vf.TaskData):
    answer: str


class CountingTask(vf.Task[CountingData]):
    @vf.reward(weight=2.0)
    async def right(self, trace: vf.Trace) -> float:
        return float((trace.last_reply or "").strip() == self.data.answer)


class CountingConfig(vf.TasksetConfig):
    count: int = 4


class CountingTaskset(vf.Taskset[CountingTask, CountingConfig]):
    def load(self) -> list[CountingTask]:
        return [
            CountingTask(CountingData(idx=number, prompt=f"say {number}", answer=str(number)), self.config.task)
            for number in range(self.config.count)
        ]


class CountingHarness(vf.Harness[vf.HarnessConfig]):
    APPENDS_SYSTEM_PROMPT = False
    NEEDS_CONTAINER = False

    async def launch(self, ctx, trace, runtime, endpoint, secret, mcp_urls, data, tool_interception_url=None):
        argv = [sys.executable, "-c", PROGRAM, endpoint, secret, ctx.model, str(data.prompt)]
        return await runtime.run_program(argv, {})


__all__ = ["CountingHarness", "CountingTaskset"]
