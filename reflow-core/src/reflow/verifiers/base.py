"""The verifier port, on the path that plugins import.

It is defined in `reflow.caching.verifiers.base`.
"""

from ..caching.verifiers.base import (
    Output as Output,
)
from ..caching.verifiers.base import (
    Verifier as Verifier,
)
