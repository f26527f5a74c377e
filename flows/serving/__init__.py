"""The servers that run until Ctrl-C: models, chat page, and the schedule of the deployments."""
