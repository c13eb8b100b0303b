"""The serializer port, on the path that plugins import.

It is defined in `reflow.values.serializers.base`.
"""

from ..values.serializers.base import (
    LAZY_BYTES as LAZY_BYTES,
)
from ..values.serializers.base import (
    Serializer as Serializer,
)
