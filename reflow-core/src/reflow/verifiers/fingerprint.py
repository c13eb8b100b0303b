"""The path of the verifier 'fingerprint' in records; it is defined in `caching.verifiers`."""

from ..caching.verifiers.fingerprint import (
    FingerprintVerifier as FingerprintVerifier,
)
