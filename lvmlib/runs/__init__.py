"""What a training run is, around the loop of `lvmlib.training`: batches, state, settings, files and checks.

`state` is what changes while a model is trained, `files` is how that is kept on disk and found again, `settings` is
what has to be the same for a resumed run to be the same run.
"""

from lvmlib.runs.files import remove_run
from lvmlib.runs.settings import digest
from lvmlib.runs.state import Average, History

__all__ = ["Average", "History", "digest", "remove_run"]
