"""Serializers: how results of some types are written and read back."""
