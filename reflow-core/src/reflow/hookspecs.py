"""The hooks and their descriptions, on the path that plugins import.

They are defined in `reflow.plugins.hookspecs`.
"""

from .plugins.hookspecs import (
    PROJECT as PROJECT,
)
from .plugins.hookspecs import (
    Entry as Entry,
)
from .plugins.hookspecs import (
    ExecutorEntry as ExecutorEntry,
)
from .plugins.hookspecs import (
    SerializerEntry as SerializerEntry,
)
from .plugins.hookspecs import (
    StoreEntry as StoreEntry,
)
from .plugins.hookspecs import (
    VerifierEntry as VerifierEntry,
)
from .plugins.hookspecs import (
    hookimpl as hookimpl,
)
from .plugins.hookspecs import (
    hookspec as hookspec,
)
from .plugins.hookspecs import (
    reflow_register_executors as reflow_register_executors,
)
from .plugins.hookspecs import (
    reflow_register_serializers as reflow_register_serializers,
)
from .plugins.hookspecs import (
    reflow_register_stores as reflow_register_stores,
)
from .plugins.hookspecs import (
    reflow_register_verifiers as reflow_register_verifiers,
)
from .plugins.hookspecs import (
    reflow_run_finished as reflow_run_finished,
)
from .plugins.hookspecs import (
    reflow_task_failed as reflow_task_failed,
)
