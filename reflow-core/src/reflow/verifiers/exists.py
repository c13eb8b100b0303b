"""The path of the verifier 'exists' in records; it is defined in `reflow.caching.verifiers`."""

from ..caching.verifiers.exists import (
    ExistsVerifier as ExistsVerifier,
)
