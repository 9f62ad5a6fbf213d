"""The container runtime: one hardened container per instance."""
