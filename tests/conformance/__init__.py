"""The official conformance suite, against servers directly and through the gateway."""
