"""`python -m agentlab` is the program `agentlab`."""

from agentlab.cli import main

if __name__ == "__main__":
    main()
