"""Run-time services: workspace, context, report, LLM runner, Prefect and training monitor."""
