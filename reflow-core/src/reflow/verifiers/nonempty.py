"""The path of the verifier 'nonempty' in records; it is defined in `reflow.caching.verifiers`."""

from ..caching.verifiers.nonempty import (
    NonemptyVerifier as NonemptyVerifier,
)
