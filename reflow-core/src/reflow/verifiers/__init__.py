"""The path of the verifier port for plugins; verifiers are in `reflow.caching`."""
