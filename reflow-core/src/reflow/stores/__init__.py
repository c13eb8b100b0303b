"""The path of the store port for plugins; stores are in `reflow.storage`."""
