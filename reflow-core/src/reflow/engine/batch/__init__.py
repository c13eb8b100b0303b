"""Runs whose elements are jobs of a scheduler, carried on by short dispatch passes."""
