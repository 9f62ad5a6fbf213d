"""What an instance may touch: command, environment, working directory."""
