"""A run of several stages, as a graph of their instances."""

from dermray.pipeline.commands import COMMANDS as COMMANDS
from dermray.pipeline.commands import command as command
from dermray.pipeline.graph import Graph as Graph
from dermray.pipeline.graph import Instance as Instance
from dermray.pipeline.graph import PipelineConfig as PipelineConfig
from dermray.pipeline.graph import load as load
