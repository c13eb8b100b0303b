"""The path of the serializer port for plugins; serializers are in `reflow.values`."""
