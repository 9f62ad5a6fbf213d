"""What mcpgw costs, in ratios: run ``python3 -m benchmarks``."""
