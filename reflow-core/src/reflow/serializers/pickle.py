"""The path of the pickle serializer in records and in pickles of results.

It is defined in `reflow.values.serializers.pickle`.
"""

from ..values.serializers.pickle import (
    PickleSerializer as PickleSerializer,
)
from ..values.serializers.pickle import (
    _of_script as _of_script,
)
