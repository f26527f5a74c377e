"""The surroundings of a run: workspace, context, report, Prefect and training monitor."""
