"""Stores: indexes over runs."""
