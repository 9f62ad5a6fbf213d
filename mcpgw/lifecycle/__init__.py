"""When instances are made, shared and stopped."""
