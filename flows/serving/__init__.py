"""What runs until Ctrl-C: the model server, the chat page, the schedule of the deployments."""
