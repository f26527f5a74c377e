"""Orchestration and the command line: flows, tasks, deployments, the recipe; no data logic."""
