"""Run the command line as `python -m memoirist.flows.cli`."""

from memoirist.flows.cli.main import main

if __name__ == "__main__":
    main()
