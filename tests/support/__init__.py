"""What tests share: the command line in this process, and one Prefect server for all."""
