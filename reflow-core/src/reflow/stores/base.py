"""The store port, on the path that plugins import.

It is defined in `reflow.storage.stores.base`, outcomes in `reflow.storage.outcome`.
"""

from ..storage.stores.base import (
    WHOLE_TASK as WHOLE_TASK,
)
from ..storage.stores.base import (
    CachedResult as CachedResult,
)
from ..storage.stores.base import (
    InstanceRow as InstanceRow,
)
from ..storage.stores.base import (
    Outcome as Outcome,
)
from ..storage.stores.base import (
    Position as Position,
)
from ..storage.stores.base import (
    QueryError as QueryError,
)
from ..storage.stores.base import (
    Reservation as Reservation,
)
from ..storage.stores.base import (
    RunRow as RunRow,
)
from ..storage.stores.base import (
    Store as Store,
)
from ..storage.stores.base import (
    TaskRow as TaskRow,
)
from ..storage.stores.base import (
    Underway as Underway,
)
from ..storage.stores.base import (
    instance_of as instance_of,
)
