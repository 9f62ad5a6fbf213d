"""What would keep a tool from working, as far as can be seen without starting it."""

import os
from collections.abc import Iterator

from mcpgw.config.schema import Config, Mode, RuntimeKind, ServerSpec
from mcpgw.errors import StartFailed
from mcpgw.sandbox.environment import child_environment, find_command


def doubts(config: Config, spec: ServerSpec) -> Iterator[str]:
    """Give what is wrong with a tool on this machine, as it is now, each as one sentence.

    None of it is an error of the file: a program may be installed before the tool is used.
    """
    if spec.runtime is RuntimeKind.NATIVE and not _elsewhere(config):
        yield from _failures(config, spec)
        if spec.cwd and not (config.base_dir / spec.cwd).is_dir():
            yield f"{spec.name}: cwd: {spec.cwd} is not a directory"
        if any("${" in argument for argument in spec.args):
            yield f'{spec.name}: args: "${{" is passed on as it is; it has a meaning in env only'
    unused = "daemon" if spec.mode is Mode.LAUNCHER else "launcher"
    if unused in spec.model_fields_set:
        yield f'{spec.name}: {unused}: has no effect with "mode: {spec.mode}"'


def _elsewhere(config: Config) -> bool:
    """Whether native tools run where the runner does, whose programs we do not see."""
    return config.runner is not None and config.runner.native is not False


def _failures(config: Config, spec: ServerSpec) -> Iterator[str]:
    try:
        find_command(spec, tools_root=config.tools_root, base_dir=config.base_dir, own=os.environ)
    except StartFailed as exc:
        yield str(exc)
    try:
        child_environment(spec, os.environ)
    except StartFailed as exc:
        yield str(exc)
