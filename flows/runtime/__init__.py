"""Run-time services: workspace, context, report, Prefect and training monitor."""
