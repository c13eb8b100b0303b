"""Runs: what a person asks for. Submit, cancel, retry, status, logs, plan, clean-up."""
